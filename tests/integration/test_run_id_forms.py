"""What arrives in ``run_ids`` and ``xcom_task_ids``, as Airflow itself hands it over."""

from __future__ import annotations

import pytest
from airflow_names import IS_AIRFLOW_2

START = """
try:
    from airflow.sdk.exceptions import AirflowSkipException
except ImportError:  # before 3.1
    from airflow.exceptions import AirflowSkipException

@task
def one(params):
    return params["ids"][0]

@task
def many(params):
    return [params["ids"][0], None, params["ids"][1]]

@task
def answers(params):
    return [{"run_id": run_id} for run_id in params["ids"]]

@task
def batch(params):
    first, second, third = params["ids"]
    return {"id": "batch_1", "runs": [first, {"id": second}]}

@task
def mapped(number, params):
    return params["ids"][number] if number is not None else None

@task
def once(number, params):
    return params["ids"][number]

@task
def nothing():
    return None

@task
def skipped():
    raise AirflowSkipException

@task
def keyed(ti, params):
    ti.xcom_push(key="ids", value=params["ids"][:1])

one, many, answers, batch, nothing, skipped, keyed = [
    source() for source in (one, many, answers, batch, nothing, skipped, keyed)
]
mapped, once = mapped.expand(number=[0, None, 1]), once.expand(number=[1])
sources = [one, many, answers, batch, mapped, once, nothing, skipped, keyed]

def cancel(task_id, **options):
    sources >> CancelTriggerRunOperator(task_id=task_id, trigger_rule="all_done", **options)

"""

MAPPED_OUTPUTS = "a template of mapped outputs"
# The arguments of an operator, then the places of the ids that it is to find, in order.
FORMS = {
    "the output of a task": ("run_ids=one", [0]),
    "a list-returning task": ("run_ids=many", [0, 1]),
    "mapped outputs": ("run_ids=mapped", [0, 1]),
    "outputs of every kind": ("run_ids=[many, mapped, once, nothing, skipped, answers]", [0, 1, 2]),
    "the id of a task with the answer of a batch call": ("xcom_task_ids='batch'", [0, 1]),
    "a template of the answer of a batch call": ("run_ids=\"{{ ti.xcom_pull(task_ids='batch') }}\"", [0, 1]),
    "a template of a list of task ids": ('xcom_task_ids=\'{{ ["once", "one"] }}\'', [1, 0]),
    "a generator": ("run_ids=(output for output in [once, one])", [1, 0]),
    "a task that was skipped": ("run_ids=skipped", []),
    "a template of a list": ("run_ids='{{ params.ids }}'", [0, 1, 2]),
    "templates in a list": ("run_ids=['{{ params.ids[1] }}', '{{ params.ids[0] }}']", [1, 0]),
    "a template that joins": ("run_ids=\"{{ params.ids | join(', ') }}\"", [0, 1, 2]),
    "a template of JSON": ("run_ids='{{ params.ids | tojson }}'", [0, 1, 2]),
    "a template of an XCom with dicts": ("run_ids=\"{{ ti.xcom_pull(task_ids='answers') }}\"", [0, 1, 2]),
    "a template of no XCom": ("run_ids=\"{{ ti.xcom_pull(task_ids='nothing') }}\"", []),
    MAPPED_OUTPUTS: ("run_ids=\"{{ ti.xcom_pull(task_ids='mapped') }}\"", [0, 1]),
    "ids of tasks of every kind": ("xcom_task_ids=['once', 'nothing', 'skipped', 'mapped']", [1, 0]),
    "another key": ("xcom_task_ids='keyed', xcom_key='ids'", [0]),
    "both": ("run_ids=once, xcom_task_ids='many'", [1, 0]),
}
DAG = "params={'ids': [], 'number': '123'}"


@pytest.fixture
def ids(server):
    return [server.add_run().id for _ in range(3)]


def tasks_of(forms):
    """Return an operator for each form, behind the tasks that these name."""
    return START + "\n".join(f"cancel('{number}', {form[0]})" for number, form in enumerate(forms.values()))


def found(result, forms, ids):
    """Return, for each form, where in the ids those stand that were found."""
    return {
        name: [ids.index(one["run_id"]) for one in result.xcoms.get(str(number), [])]
        for number, name in enumerate(forms)
    }


def test_every_form_is_read_or_rejected_with_the_way_out(ids, server, run_tasks, said):
    result = run_tasks(tasks_of(FORMS), {"ids": ids}, dag=DAG)
    places = {name: places for name, (_, places) in FORMS.items()}
    if IS_AIRFLOW_2:
        places[MAPPED_OUTPUTS] = []
        assert said.lines("LazySelectSequence", "use xcom_task_ids")
    assert found(result, FORMS, ids) == places
    assert {run.status for run in server.runs.values()} == {"CANCELED"}


def test_rendered_natively_every_template_is_read_and_what_is_wrong_fails_at_once(ids, run_tasks, said):
    forms = {name: form for name, form in FORMS.items() if "template" in name}
    result = run_tasks(
        tasks_of(forms)
        + f"""
cancel("number", run_ids=["{{{{ params.number }}}}", one], retries=2)
cancel("unknown", run_ids=[one, "run_unknown"], retries=2)
cancel("mistyped", xcom_task_ids=["once", "ansers"], retries=2)
CancelTriggerRunOperator.partial(task_id="each").expand(run_ids=[{ids[0]!r}, None, {ids[1]!r}])
""",
        {"ids": ids},
        dag=DAG + ", render_template_as_native_obj=True",
    )
    assert found(result, forms, ids) == {name: places for name, (_, places) in forms.items()}
    results = {
        "number": [(ids[0], "canceled")],
        "unknown": [(ids[0], "canceled"), ("run_unknown", "not_found")],
        "mistyped": [(ids[1], "canceled")],
    }
    for task_id, expected in results.items():
        assert (result.states[task_id], result.tries[task_id]) == (["failed"], [1])
        assert [(one["run_id"], one["outcome"]) for one in result.xcoms[task_id]] == expected
    assert said.lines("123 from run_ids is not a valid run id: it must be an id (run_…), a list of ids")
    assert said.lines("'ansers' from xcom_task_ids is not a valid task id", "did you mean 'answers'")
    assert result.states["each"] == ["success"] * 3
    assert said.lines("run_ids is None")
