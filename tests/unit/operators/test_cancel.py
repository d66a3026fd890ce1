from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_trigger._compat import AirflowException, AirflowFailException, BaseOperator
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG

# What a Dag's parse does, in a process of its own: what is imported, and which sockets are opened.
PARSE = """
import json, sys
touched = []
sys.addaudithook(lambda event, _: event in ("socket.connect", "socket.getaddrinfo") and touched.append(event))
try:
    from airflow.sdk import DAG, BaseOperator, XComArg
except ImportError:
    from airflow.models.baseoperator import BaseOperator
    from airflow.models.dag import DAG
    from airflow.models.xcom_arg import XComArg
from airflow_provider_trigger._compat import BaseNotifier
import airflow.exceptions

class Plain(BaseOperator):
    def __init__(self, ids=None, **arguments):
        super().__init__(**arguments)

# What any Dag costs, with whatever its constructors import themselves.
with DAG("plain", on_failure_callback=BaseNotifier()):
    Plain(task_id="t")
    Plain.partial(task_id="m").expand(ids=[[1], [2]])
before = set(sys.modules)
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
operator = set(sys.modules) - before
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
notifier = set(sys.modules) - before - operator
with DAG("d", on_failure_callback=CancelTriggerRunNotifier(run_ids="run_1")):
    CancelTriggerRunOperator(
        task_id="t",
        run_ids=["run_1"],
        xcom_task_ids="start",
        trigger_dev_conn_id="there is no such connection",
        wait_for_termination=True,
        on_failure_callback=CancelTriggerRunNotifier(xcom_task_ids="start"),
    )
    CancelTriggerRunOperator.partial(task_id="m").expand(run_ids=[["run_1"], ["run_2"]])
parse = set(sys.modules) - before - operator - notifier
print(json.dumps([sorted(operator), sorted(notifier), sorted(parse), touched]))
"""


@pytest.fixture(scope="module")
def parsed() -> list[list[str]]:
    done = subprocess.run([sys.executable, "-c", PARSE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return list(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("step", [0, 1, 2], ids=["the operator", "the notifier", "a Dag with both"])
def test_a_dags_parse_brings_no_client(parsed: list[list[str]], step: int) -> None:
    heavy = {"requests", "httpx", "urllib3", "tenacity", "pydantic"}
    heavy |= {"airflow_provider_trigger.api.client", "airflow_provider_trigger.hooks.trigger_dev"}
    assert not heavy & set(parsed[step])


def test_the_operator_brings_little_but_itself(parsed: list[list[str]]) -> None:
    ours = {name for name in parsed[0] if name.startswith("airflow_provider_trigger")}
    assert "airflow_provider_trigger.operators.cancel" in ours
    assert not {name for name in ours if ".api" in name or ".testing" in name}


def test_a_dags_parse_opens_no_socket(parsed: list[list[str]]) -> None:
    assert parsed[3] == []


# What is refused when the Dag is parsed


TASK = BaseOperator(task_id="start")


def operator(**arguments: Any) -> CancelTriggerRunOperator:
    return CancelTriggerRunOperator(**{"task_id": "cancel", "run_ids": ["run_1"]} | arguments)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"run_ids": None}, "give run_ids, or xcom_task_ids, or both"),
        ({"run_ids": None, "xcom_task_ids": []}, "give run_ids, or xcom_task_ids, or both"),
        ({"run_ids": None, "xcom_task_ids": ""}, "give run_ids, or xcom_task_ids, or both"),
        ({"xcom_task_ids": TASK}, "xcom_task_ids takes a task's id, here 'start', not the task"),
        ({"xcom_task_ids": ["work", TASK]}, "xcom_task_ids takes a task's id, here 'start', not the task"),
        ({"on_not_found": "skip"}, "on_not_found is 'fail' or 'ignore', not 'skip'"),
        ({"termination_timeout": -1}, "termination_timeout is a number of seconds, 0 or more, not -1"),
        ({"poll_interval": 0}, "poll_interval is a number of seconds, 0.01 or more, not 0"),
        ({"poll_interval": -2}, "poll_interval is a number of seconds, 0.01 or more, not -2"),
        ({"poll_interval": float("nan")}, "poll_interval is a number of seconds, 0.01 or more, not nan"),
        ({"termination_timeout": "90"}, "termination_timeout is a number of seconds, 0 or more, not '90'"),
        ({"max_concurrency": 0}, "max_concurrency is a number of requests, 1 or more, not 0"),
        ({"max_concurrency": 1.5}, "max_concurrency is a number of requests, 1 or more, not 1.5"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match="CancelTriggerRunOperator 'cancel': ") as raised:
        operator(**arguments)
    assert str(raised.value).endswith(reason)


def test_arguments_go_by_their_names_only() -> None:
    with pytest.raises((TypeError, AirflowException)):
        CancelTriggerRunOperator(["run_1"], task_id="cancel")


@pytest.mark.parametrize(
    "arguments",
    [
        {"run_ids": []},
        {"run_ids": ""},
        {"run_ids": None, "xcom_task_ids": "start"},
        {"run_ids": None, "xcom_task_ids": ["start", "more"]},
        {"xcom_task_ids": ["start"]},
        {"on_not_found": "ignore", "termination_timeout": 0, "poll_interval": 0.1, "max_concurrency": 1},
    ],
)
def test_arguments_that_make_sense_are_taken(arguments: dict[str, Any]) -> None:
    made = operator(**arguments)
    assert {name: getattr(made, name) for name in arguments} == arguments


def test_the_defaults_are_those_that_are_documented() -> None:
    made = operator()
    assert (made.xcom_task_ids, made.xcom_key, made.trigger_dev_conn_id) == (
        None,
        "return_value",
        "trigger_dev_default",
    )
    assert (made.on_not_found, made.wait_for_termination) == ("fail", False)
    assert (made.termination_timeout, made.poll_interval, made.max_concurrency) == (90, 2, 32)


def test_it_is_an_operator_whose_fields_are_templated() -> None:
    assert issubclass(CancelTriggerRunOperator, BaseOperator)
    made = operator(run_ids=["{{ x }}", "run_2"], xcom_key="{{ x }}_key", trigger_dev_conn_id="{{ x }}_conn")
    made.render_template_fields({"x": "run_1"})
    assert made.run_ids == ["run_1", "run_2"]
    assert (made.xcom_key, made.trigger_dev_conn_id) == ("run_1_key", "run_1_conn")


@pytest.fixture
def dag() -> DAG:
    return DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))


def test_a_tasks_output_as_run_ids_makes_it_an_upstream_task(dag: DAG) -> None:
    with dag:
        start = operator(task_id="start")
        stop = operator(task_id="stop", run_ids=[start.output, "run_1"])
    assert stop.upstream_task_ids == {"start"}


def test_it_can_be_mapped(dag: DAG) -> None:
    with dag:
        mapped = CancelTriggerRunOperator.partial(task_id="stop", on_not_found="ignore").expand(
            run_ids=[["run_1"]]
        )
    assert mapped.operator_class is CancelTriggerRunOperator


# What it does with what it gathers


class TaskInstance:
    """What Airflow hands to a task: XComs to pull, and to push."""

    def __init__(self, **pushed: Any) -> None:
        self.pushed = pushed
        self.kept: dict[str, Any] = {}

    def xcom_pull(self, *, task_ids: str, key: str) -> Any:
        return self.pushed.get(task_ids) if key == "return_value" else None

    def xcom_push(self, key: str, value: Any) -> None:
        json.dumps(value)
        self.kept[key] = value


def context(**pushed: Any) -> dict[str, Any]:
    return {"ti": TaskInstance(**pushed), "dag": SimpleNamespace(task_ids=["start", "stop"])}


@pytest.fixture
def runs(wire: Any, answer: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the runs of a server behind the default connection: run id to what it answers."""
    connection = {"conn_type": "trigger_dev", "host": "trigger.test", "password": "tr_prod_marker"}
    monkeypatch.setenv(
        "AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", json.dumps(connection | {"extra": {"retry_for": 0}})
    )
    known: dict[str, Any] = {"run_1": (200, {"id": "run_1", "status": "CANCELED", "taskIdentifier": "t"})}

    def script(request: Any) -> Any:
        run_id = request.url.split("/runs/")[1].split("/")[0]
        return answer(*known.get(run_id, (404, {"error": "Not found"})))

    wire.script = script
    return known


CANCELED = {
    "run_id": "run_1",
    "outcome": "canceled",
    "status": "CANCELED",
    "task_identifier": "t",
    "terminated": True,
}
MISSING = {
    "run_id": "run_x",
    "outcome": "not_found",
    "status": None,
    "task_identifier": None,
    "terminated": False,
}


@pytest.mark.parametrize("nothing", [[], None, "None", [None]])
def test_no_ids_at_all_are_a_success_without_a_connection(nothing: Any) -> None:
    made = operator(run_ids=[], trigger_dev_conn_id="there is no such connection")
    made.run_ids = nothing  # as rendered
    assert made.execute(context()) == []


def test_ids_of_both_sources_count_once_in_their_order(runs: dict[str, Any]) -> None:
    made = operator(xcom_task_ids="start", on_not_found="ignore")
    assert made.execute(context(start=["run_x", "run_1"])) == [CANCELED, MISSING]


def test_a_task_that_the_dag_does_not_have_fails_the_task_for_good() -> None:
    made = operator(run_ids=None, xcom_task_ids="strat")
    with pytest.raises(AirflowFailException, match=r"the Dag has no such task; did you mean 'start'\?"):
        made.execute(context())


def test_what_is_no_id_fails_the_task_after_the_readable_ones_were_canceled(
    runs: dict[str, Any], wire: Any
) -> None:
    given = context()
    with pytest.raises(AirflowFailException, match=r"1 canceled - no run ids: 7 from run_ids\[1\]"):
        operator(run_ids=["run_1", 7]).execute(given)
    assert len(wire.sent) == 2
    assert given["ti"].kept == {"return_value": [CANCELED]}


def test_an_unknown_run_fails_the_task_for_good_unless_told_otherwise(runs: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="not found: run_x"):
        operator(run_ids=["run_1", "run_x"]).execute(context())
    assert operator(run_ids=["run_x"], on_not_found="ignore").execute(context()) == [MISSING]


def test_when_not_one_run_is_known_the_key_may_be_anothers(runs: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="belong to another environment"):
        operator(run_ids=["run_x", "run_y"]).execute(context())


@pytest.mark.parametrize(("status", "retries"), [(503, True), (429, True), (400, False), (403, False)])
def test_a_failure_that_another_try_can_cure_leaves_the_tasks_retries(
    runs: dict[str, Any], status: int, retries: bool
) -> None:
    runs["run_2"] = (status, {"error": "no"})
    given = context()
    with pytest.raises(AirflowException, match="1 canceled, 1 failed - not canceled: run_2: ") as raised:
        operator(run_ids=["run_1", "run_2"]).execute(given)
    assert isinstance(raised.value, AirflowFailException) is not retries
    assert [result["outcome"] for result in given["ti"].kept["return_value"]] == ["canceled", "failed"]


def test_a_rejected_key_fails_the_task_for_good_and_is_not_shown(runs: dict[str, Any]) -> None:
    runs["run_1"] = (401, {"error": "Invalid API key tr_prod_marker"})
    given = context()
    with pytest.raises(
        AirflowFailException, match="'trigger_dev_default': the secret key was rejected"
    ) as raised:
        operator().execute(given)
    assert "tr_prod_marker" not in str(raised.value) + json.dumps(given["ti"].kept)
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("given", [{}, {"ti": None}])
def test_executed_by_hand_it_fails_for_the_reason_that_it_has(given: Any, runs: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="not found: run_x"):
        operator(run_ids=["run_1", "run_x"]).execute(given)


def test_executed_by_hand_it_reads_xcoms_without_a_dag(runs: dict[str, Any]) -> None:
    given: Any = {"ti": TaskInstance(start="run_1")}
    assert operator(run_ids=None, xcom_task_ids="start").execute(given) == [CANCELED]


def test_an_xcom_backend_that_is_down_does_not_hide_why_the_task_fails(
    runs: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(key: str, value: Any) -> None:
        raise OSError("the backend is down")

    given = context()
    monkeypatch.setattr(given["ti"], "xcom_push", refuse)
    with pytest.raises(AirflowFailException, match="not found: run_x"):
        operator(run_ids=["run_1", "run_x"]).execute(given)


def test_without_xcom_nothing_is_pushed(runs: dict[str, Any]) -> None:
    given = context()
    with pytest.raises(AirflowFailException):
        operator(run_ids="run_x", do_xcom_push=False).execute(given)
    assert given["ti"].kept == {}


def test_a_killed_task_sends_nothing_and_says_so(runs: dict[str, Any]) -> None:
    made = operator()
    made.on_kill()
    given = context()
    with pytest.raises(AirflowException, match="killed before all runs were canceled") as raised:
        made.execute(given)
    assert not isinstance(raised.value, AirflowFailException)
    assert [result["run_id"] for result in given["ti"].kept["return_value"]] == ["run_1"]


def test_what_is_not_over_in_time_is_a_success(runs: dict[str, Any], clock: Any) -> None:
    runs["run_1"][1]["startedAt"] = "2026-11-25T09:00:00Z"
    made = operator(wait_for_termination=True, termination_timeout=3, poll_interval=1)
    assert made.execute(context()) == [CANCELED | {"terminated": False}]
