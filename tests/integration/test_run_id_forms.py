"""What arrives in ``run_ids`` and ``xcom_task_ids``, as Airflow itself hands it over."""

from __future__ import annotations

import re
from itertools import count
from typing import Any

import pytest
from airflow import __version__

from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

pytestmark = pytest.mark.usefixtures("connection")

HAS_XCOMS_OF_AIRFLOW_2 = __version__.startswith("2.")

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
    def batch(params):
        first, second, third = params["ids"]
        return {"id": "batch_1", "runs": [first, {"id": second}]}

    @task
    def urls(params):
        return [f"https://trigger.test/orgs/o/env/prod/runs/{run_id}?x=y" for run_id in params["ids"]]

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
    "urls": "urls()",
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
    "URLs of runs": ("run_ids=urls", [0, 1, 2]),
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


def test_mapped_outputs_in_a_template_are_read_or_rejected_with_the_way_out(server, run_dag, said):
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
    assert said.lines("123 from run_ids[0] is not a valid run id: it must be a string, not int")


def test_results_stay_in_xcom_when_the_task_fails(server, run_dag):
    ids = [server.add_run().id for _ in range(3)]
    forms: dict[str, Any] = {"it": ("run_ids=[one, 'run_unknown'], retries=2, retry_delay=0", [])}
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
    assert said.lines("'onse' from xcom_task_ids is not a valid task id", "did you mean 'once'")


# Sources that gave nothing

# The arguments of the operator, and the sentence that names the source.
EMPTY = {
    "a task that pushed nothing": (
        {"xcom_task_ids": ["start", "silent"]},
        "task 'silent' pushed no XCom with the key 'return_value'",
    ),
    "a wrong key": (
        {"xcom_task_ids": "start", "xcom_key": "ids"},
        "task 'start' pushed no XCom with the key 'ids'",
    ),
    "an XCom that is an empty list": (
        {"xcom_task_ids": ["start", "none"]},
        "the XCom 'return_value' of task 'none' is an empty list",
    ),
    "a template that rendered to None": (
        {"run_ids": "{{ ti.xcom_pull(task_ids='strat') }}", "xcom_task_ids": "start"},
        "run_ids rendered to None: the template probably found no XCom: check task_ids and key in it",
    ),
    "an empty list": ({"run_ids": [], "xcom_task_ids": "start"}, "run_ids is an empty list"),
}


@pytest.mark.parametrize(("options", "sentence"), EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("on_empty", ["ignore", "fail"])
def test_each_empty_source_is_named_and_fails_the_task_where_told(
    options, sentence, on_empty, server, make_context, said
):
    run = server.add_run()
    context = make_context({"start": run.id, "none": []}, ["start", "silent", "none"])
    operator = CancelTriggerRunOperator(task_id="cancel_runs", on_empty=on_empty, **options)
    operator.render_template_fields(context)
    if on_empty == "fail":
        with pytest.raises(AirflowFailException, match=re.escape(sentence)):
            operator.execute(context)
    else:
        operator.execute(context)
    assert ("warning" if on_empty == "ignore" else "error") in said.lines(sentence)[0].lower()
    # With the wrong key there is no id at all.
    assert run.status == ("EXECUTING" if "xcom_key" in options else "CANCELED")


def test_a_none_is_skipped_with_a_line(server, cancel, said):
    run = server.add_run()
    result = cancel(xcom_task_ids="start", xcoms={"start": [run.id, None]})
    assert result.error is None
    assert result.outcomes == ["canceled"]
    assert said.lines("Skipped 1 value that is None", "task 'start'[1]")


def test_no_ids_at_all_is_a_success_with_one_line(server, cancel, said):
    result = cancel(xcom_task_ids="start", xcoms={"start": []})
    assert result.error is None
    assert result.results == []
    assert server.requests == []
    assert len(said.lines("No run ids were found, so nothing was canceled")) == 1


def test_an_xcom_that_cannot_be_read_fails_the_task_once_the_others_are_canceled(
    server, make_operator, make_context, said
):
    runs = [server.add_run() for _ in range(3)]
    broken = OSError("the backend is down")
    context = make_context({"start": runs[1].id, "broken": broken, "more": [runs[2].id]})
    sentence = "the XCom 'return_value' of task 'broken' cannot be read: OSError: the backend is down"
    with pytest.raises(AirflowException, match=re.escape(sentence)) as raised:
        make_operator(runs[0], xcom_task_ids=["start", "broken", "more"]).execute(context)
    assert not isinstance(raised.value, AirflowFailException)  # another try may succeed
    assert said.lines(sentence)
    assert [run.status for run in runs] == ["CANCELED"] * 3


def test_a_mapped_instance_without_ids_is_a_success(server, run_dag, said):
    runs = [server.add_run() for _ in range(2)]
    source = START % ("mapped_none", "")
    source += "    CancelTriggerRunOperator.partial(task_id='cancel').expand(run_ids=%r)\n"
    result = run_dag(source % [runs[0].id, None, runs[1].id])
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


INVALID = [
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


@pytest.mark.parametrize(("value", "shown"), INVALID)
@pytest.mark.parametrize("source", ["run_ids", "xcom"])
def test_an_invalid_value_fails_without_retries_once_the_others_are_canceled(
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
    assert said.lines(f"{named} is not a valid run id:", shown)
    assert len(server.requests) == 4


def test_each_invalid_value_is_shown(server, execute, make_operator, said):
    result = execute(make_operator(7, 8, server.add_run(), 9))
    assert all(f"{number} from run_ids" in str(result.error) for number in (7, 8, 9))
    assert all(said.lines(f"{number} from run_ids[", "is not a valid run id") for number in (7, 8, 9))


def test_without_any_source_the_dag_does_not_parse(make_operator):
    with pytest.raises(ValueError, match="'cancel_runs': give one or more of run_ids, xcom_task_ids, tags"):
        make_operator()
