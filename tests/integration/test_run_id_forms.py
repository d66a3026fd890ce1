"""What arrives in ``run_ids`` and ``xcom_task_ids``, as Airflow itself hands it over."""

from __future__ import annotations

import re
from itertools import count

import pytest
from airflow import __version__

from airflow_provider_trigger._compat import AirflowFailException

pytestmark = pytest.mark.usefixtures("connection")

# Under ``dag.test()`` 3.0.0 still has the XComs of Airflow 2.
HAS_XCOMS_OF_AIRFLOW_2 = __version__.startswith(("2.", "3.0.0"))

START = """
try:
    from airflow.sdk import DAG, task
    from airflow.sdk.exceptions import AirflowSkipException
except ImportError:
    from airflow.exceptions import AirflowSkipException
    try:
        from airflow.sdk import DAG, task
    except ImportError:
        from airflow.decorators import task
        from airflow.models.dag import DAG
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

def cancel(task_id, **options):
    options.setdefault("trigger_rule", "all_done")
    return CancelTriggerRunOperator(task_id=task_id, **options)

with DAG(dag_id=%r, schedule=None, params={"ids": [], "number": "123"}, %s) as dag:

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


_numbers = count()


def dag_of(forms, **dag_options):
    """Return a Dag with an operator for each form, and the tasks that these name."""
    given = ", ".join(f"{name}={value!r}" for name, value in dag_options.items())
    named = {word for arguments, _ in forms.values() for word in re.findall(r"\w+", arguments)}
    sources = [name for name in CALLS if name in named]
    lines = [f"{name} = {CALLS[name]}" for name in sources]
    lines += [
        f"[{', '.join(sources)}] >> cancel('cancel_{number}', {arguments})"
        for number, (arguments, _) in enumerate(forms.values())
    ]
    # Airflow 3.1 would for a while take a changed Dag for the one it has seen under the same name.
    return START % (f"forms_{next(_numbers)}", given) + "".join(f"    {line}\n" for line in lines)


def found(result, forms, ids):
    """Return, for each form, where in the ids those stand that were found."""
    return {
        name: [ids.index(one["run_id"]) for one in result.xcoms[f"cancel_{number}"]]
        for number, name in enumerate(forms)
    }


def test_every_form_is_read(server, run_dag):
    ids = [server.add_run().id for _ in range(3)]
    result = run_dag(dag_of(FORMS), {"ids": ids})
    assert found(result, FORMS, ids) == {name: places for name, (_, places) in FORMS.items()}
    assert result.state == "success"
    assert all(server.runs[run_id].status == "CANCELED" for run_id in ids)


def test_every_template_is_read_where_the_dag_renders_natively(server, run_dag):
    ids = [server.add_run().id for _ in range(3)]
    forms = {name: form for name, form in FORMS.items() if "template" in name}
    forms["a template of mapped outputs"] = ("run_ids=\"{{ ti.xcom_pull(task_ids='mapped') }}\"", [0, 1])
    result = run_dag(dag_of(forms, render_template_as_native_obj=True), {"ids": ids})
    assert found(result, forms, ids) == {name: places for name, (_, places) in forms.items()}
    assert result.state == "success"


def test_mapped_outputs_in_a_template_are_read_or_refused_with_the_way_out(server, run_dag, said):
    ids = [server.add_run().id for _ in range(3)]
    forms = {"it": ("run_ids=\"{{ ti.xcom_pull(task_ids='mapped') }}\"", [0, 1])}
    result = run_dag(dag_of(forms), {"ids": ids})
    if HAS_XCOMS_OF_AIRFLOW_2:
        assert result.states["cancel_0"] == ["failed"]
        assert said.lines("LazySelectSequence", "use xcom_task_ids")
    else:
        assert found(result, forms, ids) == {"it": [0, 1]}


def test_an_id_that_native_rendering_made_a_number_fails_without_retries(server, run_dag, said):
    ids = [server.add_run().id for _ in range(3)]
    forms = {"it": ("run_ids=['{{ params.number }}', '{{ params.ids[0] }}'], retries=2, retry_delay=0", [0])}
    result = run_dag(dag_of(forms, render_template_as_native_obj=True), {"ids": ids})
    assert result.states["cancel_0"] == ["failed"]
    assert result.tries["cancel_0"] == [1]
    assert found(result, forms, ids) == {"it": [0]}
    assert server.runs[ids[0]].status == "CANCELED"
    assert said.lines("123 from run_ids[0]: a run id is text, not int")


def test_results_stay_in_xcom_when_the_task_fails(server, run_dag):
    ids = [server.add_run().id for _ in range(3)]
    forms = {"it": ("run_ids=[one, 'run_unknown'], retries=2, retry_delay=0", [])}
    result = run_dag(dag_of(forms), {"ids": ids})
    assert result.states["cancel_0"] == ["failed"]
    assert result.tries["cancel_0"] == [1]
    assert [one["outcome"] for one in result.xcoms["cancel_0"]] == ["canceled", "not_found"]


def test_a_mistyped_task_id_fails_without_retries_once_the_others_are_canceled(server, run_dag, said):
    ids = [server.add_run().id for _ in range(3)]
    forms = {"it": ("xcom_task_ids=['once', 'onse'], retries=2, retry_delay=0", [1])}
    result = run_dag(dag_of(forms), {"ids": ids})
    assert result.states["cancel_0"] == ["failed"]
    assert result.tries["cancel_0"] == [1]
    assert found(result, forms, ids) == {"it": [1]}
    assert server.runs[ids[1]].status == "CANCELED"
    assert said.lines("'onse' from xcom_task_ids", "did you mean 'once'")


def test_a_task_that_pushed_nothing_is_named_in_a_warning(server, cancel, said):
    run = server.add_run()
    result = cancel(xcom_task_ids=["start", "silent"], xcoms={"start": run.id, "silent": None})
    assert result.outcomes == ["canceled"]
    (warning,) = said.lines("Nothing was pushed by")
    assert "warning" in warning.lower()
    assert "'silent'" in warning
    assert "'start'" not in warning


def test_a_none_is_skipped_with_a_line(server, cancel, said):
    run = server.add_run()
    result = cancel(xcom_task_ids="start", xcoms={"start": [run.id, None]})
    assert result.error is None
    assert result.outcomes == ["canceled"]
    assert said.lines("Skipped 1 None", "task 'start'[1]")


def test_no_ids_at_all_is_a_success_with_one_line(server, cancel, said):
    result = cancel(xcom_task_ids="start", xcoms={"start": []})
    assert result.error is None
    assert result.results == []
    assert server.requests == []
    assert len(said.lines("no run ids")) == 1


UNREADABLE = [
    (7, "7"),
    (True, "True"),
    (1.5, "1.5"),
    ("", "''"),
    ("  ", "''"),
    ("123", "'123'"),
    (b"run_a", "b'run_a'"),
    ({"taskIdentifier": "a"}, "a dict of ['taskIdentifier']"),
    ({"id": None}, "a dict of ['id']"),
    ({"id": "order_1", "run_id": "1"}, "a dict of ['id', 'run_id']"),
    ("{{ params.run_id }}", "'{{ params.run_id }}'"),
    ("run_" + "a" * 300, "'run_aaa"),
    ("[run_a, run_b", "'[run_a, run_b'"),
    ("..", "'..'"),
    ("run_\x00", "'run_\\x00'"),
    ("LazySelectSequence([2 items])", "'LazySelectSequence([2 items])'"),
]


@pytest.mark.parametrize(("value", "shown"), UNREADABLE)
@pytest.mark.parametrize("source", ["run_ids", "xcom"])
def test_what_is_no_run_id_fails_without_retries_once_the_others_are_canceled(
    source, value, shown, server, make_operator, execute, said
):
    runs = [server.add_run(), server.add_run()]
    values = [runs[0].id, value, runs[1].id]
    if source == "run_ids":
        result = execute(make_operator(*values))
        named = "run_ids[1]"
    else:
        result = execute(make_operator(xcom_task_ids="start"), xcoms={"start": values})
        named = "the XCom 'return_value' of task 'start'[1]"
    assert result.outcomes == ["canceled", "canceled"]
    assert type(result.error) is AirflowFailException
    assert shown in str(result.error)
    assert named in str(result.error)
    assert said.lines("No run id:", shown, named)
    assert len(server.requests) == 4


def test_each_unreadable_value_is_shown(server, execute, make_operator, said):
    result = execute(make_operator(7, 8, server.add_run(), 9))
    assert all(f"{number} from run_ids" in str(result.error) for number in (7, 8, 9))
    assert all(said.lines(f"No run id: {number} from run_ids") for number in (7, 8, 9))


def test_without_any_source_the_dag_does_not_parse(make_operator):
    with pytest.raises(ValueError, match="'cancel_runs': give run_ids, or xcom_task_ids, or both"):
        make_operator()
