"""What arrives in ``run_ids`` and ``xcom_task_ids``, as Airflow itself hands it over."""

from __future__ import annotations

import re
from typing import Any

import pytest
from airflow import __version__

HAS_XCOMS_OF_AIRFLOW_2 = __version__.startswith("2.")

START = """
try:
    from airflow.sdk.exceptions import AirflowSkipException
except ImportError:  # before 3.1
    from airflow.exceptions import AirflowSkipException

def cancel(task_id, **options):
    options.setdefault("trigger_rule", "all_done")
    return CancelTriggerRunOperator(task_id=task_id, **options)

@task
def one(params):
    return params["ids"][0]

@task
def two(params):
    return params["ids"][1]

@task
def many(params):
    return [params["ids"][0], None, params["ids"][1]]

@task
def answer(params):
    return {"id": params["ids"][0], "isCached": False}

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
"""

CALLS = {
    "one": "one()",
    "two": "two()",
    "many": "many()",
    "answer": "answer()",
    "answers": "answers()",
    "batch": "batch()",
    "mapped": "mapped.expand(number=[0, None, 1])",
    "once": "once.expand(number=[1])",
    "nothing": "nothing()",
    "skipped": "skipped()",
    "keyed": "keyed()",
}

# The arguments of an operator, then the places of the ids that it is to find, in order.
FORMS = {
    "the output of a task": ("run_ids=one", [0]),
    "a list-returning task": ("run_ids=many", [0, 1]),
    "mapped outputs": ("run_ids=mapped", [0, 1]),
    "a single mapped output": ("run_ids=once", [1]),
    "a list of outputs": ("run_ids=[two, one]", [1, 0]),
    "outputs of every kind": ("run_ids=[many, mapped, once, nothing, skipped, answers]", [0, 1, 2]),
    "an answer": ("run_ids=answer", [0]),
    "answers": ("run_ids=answers", [0, 1, 2]),
    "the answer of a batch call": ("run_ids=batch", [0, 1]),
    "the id of a task with the answer of a batch call": ("xcom_task_ids='batch'", [0, 1]),
    "a template of the answer of a batch call": ("run_ids=\"{{ ti.xcom_pull(task_ids='batch') }}\"", [0, 1]),
    "a template of a list of task ids": ('xcom_task_ids=\'{{ ["two", "one"] }}\'', [1, 0]),
    "a generator": ("run_ids=(output for output in [two, one])", [1, 0]),
    "a task that returned nothing": ("run_ids=nothing", []),
    "a task that was skipped": ("run_ids=skipped", []),
    "a template of an id": ("run_ids='{{ params.ids[2] }}'", [2]),
    "a template of a list": ("run_ids='{{ params.ids }}'", [0, 1, 2]),
    "templates in a list": ("run_ids=['{{ params.ids[1] }}', '{{ params.ids[0] }}']", [1, 0]),
    "a template that joins": ("run_ids=\"{{ params.ids | join(', ') }}\"", [0, 1, 2]),
    "a template of JSON": ("run_ids='{{ params.ids | tojson }}'", [0, 1, 2]),
    "a template of one XCom": ("run_ids=\"{{ ti.xcom_pull(task_ids='one') }}\"", [0]),
    "a template of an XCom with a list": ("run_ids=\"{{ ti.xcom_pull(task_ids='many') }}\"", [0, 1]),
    "a template of an XCom with dicts": ("run_ids=\"{{ ti.xcom_pull(task_ids='answers') }}\"", [0, 1, 2]),
    "a template of no XCom": ("run_ids=\"{{ ti.xcom_pull(task_ids='nothing') }}\"", []),
    "a task id": ("xcom_task_ids='one'", [0]),
    "task ids": ("xcom_task_ids=['two', 'one']", [1, 0]),
    "the id of a mapped task": ("xcom_task_ids='mapped'", [0, 1]),
    "the id of a task mapped once": ("xcom_task_ids='once'", [1]),
    "ids of tasks of every kind": ("xcom_task_ids=['once', 'nothing', 'skipped', 'mapped']", [1, 0]),
    "a template of a task id": ("xcom_task_ids='{{ \"one\" }}'", [0]),
    "another key": ("xcom_task_ids='keyed', xcom_key='ids'", [0]),
    "a missing key": ("xcom_task_ids='one', xcom_key='ids'", []),
    "both": ("run_ids=two, xcom_task_ids='many'", [1, 0]),
    "an empty list": ("run_ids=[]", []),
}


@pytest.fixture
def ids(server):
    return [server.add_run().id for _ in range(3)]


DAG = "params={'ids': [], 'number': '123'}"
NATIVE = DAG + ", render_template_as_native_obj=True"


def tasks_of(forms):
    """Return an operator for each form, and the tasks that these name."""
    named = {word for arguments, _ in forms.values() for word in re.findall(r"\w+", arguments)}
    sources = [name for name in CALLS if name in named]
    lines = [f"{name} = {CALLS[name]}" for name in sources]
    lines += [
        f"[{', '.join(sources)}] >> cancel('cancel_{number}', {arguments})"
        for number, (arguments, _) in enumerate(forms.values())
    ]
    return START + "\n".join(lines) + "\n"


def found(result, forms, ids):
    """Return, for each form, where in the ids those stand that were found."""
    return {
        name: [ids.index(one["run_id"]) for one in result.xcoms[f"cancel_{number}"]]
        for number, name in enumerate(forms)
    }


def test_every_form_is_read(ids, server, run_tasks):
    result = run_tasks(tasks_of(FORMS), {"ids": ids}, dag=DAG)
    assert found(result, FORMS, ids) == {name: places for name, (_, places) in FORMS.items()}
    assert result.state == "success"
    assert all(server.runs[run_id].status == "CANCELED" for run_id in ids)


def test_every_template_is_read_where_the_dag_renders_natively(ids, run_tasks):
    forms = {name: form for name, form in FORMS.items() if "template" in name}
    forms["a template of mapped outputs"] = ("run_ids=\"{{ ti.xcom_pull(task_ids='mapped') }}\"", [0, 1])
    result = run_tasks(tasks_of(forms), {"ids": ids}, dag=NATIVE)
    assert found(result, forms, ids) == {name: places for name, (_, places) in forms.items()}
    assert result.state == "success"


def test_mapped_outputs_in_a_template_are_read_or_rejected_with_the_way_out(ids, run_tasks, said):
    forms = {"it": ("run_ids=\"{{ ti.xcom_pull(task_ids='mapped') }}\"", [0, 1])}
    result = run_tasks(tasks_of(forms), {"ids": ids}, dag=DAG)
    if HAS_XCOMS_OF_AIRFLOW_2:
        assert result.states["cancel_0"] == ["failed"]
        assert said.lines("LazySelectSequence", "use xcom_task_ids")
    else:
        assert found(result, forms, ids) == {"it": [0, 1]}


def test_an_id_that_native_rendering_made_a_number_fails_without_retries(ids, server, run_tasks, said):
    forms = {"it": ("run_ids=['{{ params.number }}', '{{ params.ids[0] }}'], retries=2", [0])}
    result = run_tasks(tasks_of(forms), {"ids": ids}, dag=NATIVE)
    assert result.states["cancel_0"] == ["failed"]
    assert result.tries["cancel_0"] == [1]
    assert found(result, forms, ids) == {"it": [0]}
    assert server.runs[ids[0]].status == "CANCELED"
    assert said.lines("123 from run_ids is not a valid run id: it must be an id (run_…), a list of ids")


def test_results_stay_in_xcom_when_the_task_fails(ids, run_tasks):
    forms: dict[str, Any] = {"it": ("run_ids=[one, 'run_unknown'], retries=2", [])}
    result = run_tasks(tasks_of(forms), {"ids": ids}, dag=DAG)
    assert result.states["cancel_0"] == ["failed"]
    assert result.tries["cancel_0"] == [1]
    assert [one["outcome"] for one in result.xcoms["cancel_0"]] == ["canceled", "not_found"]


def test_a_mistyped_task_id_fails_without_retries_once_the_others_are_canceled(ids, server, run_tasks, said):
    forms = {"it": ("xcom_task_ids=['once', 'onse'], retries=2", [1])}
    result = run_tasks(tasks_of(forms), {"ids": ids}, dag=DAG)
    assert result.states["cancel_0"] == ["failed"]
    assert result.tries["cancel_0"] == [1]
    assert found(result, forms, ids) == {"it": [1]}
    assert server.runs[ids[1]].status == "CANCELED"
    assert said.lines("'onse' from xcom_task_ids is not a valid task id", "did you mean 'once'")


def test_a_mapped_instance_without_ids_is_a_success(server, run_tasks, said):
    runs = [server.add_run() for _ in range(2)]
    given = [runs[0].id, None, runs[1].id]
    result = run_tasks(f"CancelTriggerRunOperator.partial(task_id='cancel').expand(run_ids={given})")
    assert result.states["cancel"] == ["success"] * 3
    assert [run.status for run in runs] == ["CANCELED"] * 2
    assert said.lines("run_ids is None")


def test_an_invalid_argument_of_a_mapped_task_fails_it_without_retries(server, run_tasks, said):
    run = server.add_run("COMPLETED")
    result = run_tasks(f"""
        ids = [{run.id!r}]
        cancel = CancelTriggerRunOperator.partial(retries=1, task_id="cancel", poll_interval="often")
        cancel.expand(run_ids=ids)
        CancelTriggerRunOperator.partial(task_id="fine", termination_timeout="5m").expand(run_ids=ids)
        wait = TriggerRunSensor.partial(retries=1, task_id="wait", success_statuses=["DONE"])
        wait.expand(run_ids=ids)
    """)
    assert result.tries == {"cancel": [1], "fine": [1], "wait": [1]}
    assert result.states == {"cancel": ["failed"], "fine": ["success"], "wait": ["failed"]}
    assert said.lines("CancelTriggerRunOperator 'cancel': poll_interval must be a duration of 0.01 s or more")
    assert said.lines("TriggerRunSensor 'wait': success_statuses must be a list of final statuses")
