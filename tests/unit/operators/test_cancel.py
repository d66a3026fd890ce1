from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from fake_airflow import TaskInstance
from in_process import Network

from airflow_provider_trigger._compat import AirflowException, AirflowFailException, BaseOperator
from airflow_provider_trigger.cancel.outcome import CancelOutcome, CancelResult
from airflow_provider_trigger.cancel.settings import CancelSettings
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.links.run import TriggerRunLink
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.run import search
from airflow_provider_trigger.testing import TriggerDevServer

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
    heavy = {"requests", "urllib3", "tenacity", "pydantic"}
    heavy |= {"airflow_provider_trigger.api.client", "airflow_provider_trigger.hooks.trigger_dev"}
    assert not heavy & set(parsed[step])


def test_the_operator_brings_little_but_itself(parsed: list[list[str]]) -> None:
    ours = {name for name in parsed[0] if name.startswith("airflow_provider_trigger")}
    assert "airflow_provider_trigger.operators.cancel" in ours
    assert not {name for name in ours if ".api" in name or ".testing" in name}


def test_a_dags_parse_opens_no_socket(parsed: list[list[str]]) -> None:
    assert parsed[3] == []


# Arguments


def operator(**arguments: Any) -> CancelTriggerRunOperator:
    return CancelTriggerRunOperator(**{"task_id": "cancel", "run_ids": ["run_1"]} | arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"run_ids": []},
        {"run_ids": ""},
        {"run_ids": None, "xcom_task_ids": "start"},
        {"run_ids": None, "xcom_task_ids": ["start", "more"]},
        {"xcom_task_ids": ["start"]},
        {"on_not_found": "ignore", "termination_timeout": 0, "poll_interval": 0.01, "max_concurrency": 1},
        {"on_empty": "fail"},
    ],
)
def test_valid_arguments_are_kept(arguments: dict[str, Any]) -> None:
    made = operator(**arguments)
    assert {name: getattr(made, name) for name in arguments} == arguments


@pytest.fixture
def dag() -> DAG:
    return DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))


def test_a_tasks_output_as_run_ids_makes_it_an_upstream_task(dag: DAG) -> None:
    with dag:
        start = operator(task_id="start")
        stop = operator(task_id="stop", run_ids=[start.output, "run_1"])
    assert stop.upstream_task_ids == {"start"}


# What it does with what it gathers


def context(**pushed: Any) -> Any:
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)) as dag:
        for task_id in ("start", "stop"):
            BaseOperator(task_id=task_id)
    return {"ti": TaskInstance(xcoms=pushed), "dag": dag}


@pytest.fixture
def log(keep_log):
    return keep_log(CancelTriggerRunOperator)


@pytest.fixture
def runs(wire, answer, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
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
NOT_FOUND = {
    "run_id": "run_x",
    "outcome": "not_found",
    "status": None,
    "task_identifier": None,
    "terminated": False,
}


@pytest.mark.parametrize("nothing", [[], None, "None", [None]])
def test_no_ids_at_all_are_a_success_without_a_connection(nothing, log) -> None:
    made = operator(run_ids=[], trigger_dev_conn_id="there is no such connection")
    made.run_ids = nothing  # as rendered
    assert made.execute(context()) == []
    assert [level for level, _ in log.leveled] == ["warning", "info"]
    assert log.leveled[-1] == ("info", "No run ids were found, so nothing was canceled")


def test_ids_of_both_sources_count_once_in_their_order(runs: dict[str, Any]) -> None:
    made = operator(xcom_task_ids="start", on_not_found="ignore")
    assert made.execute(context(start=["run_x", "run_1"])) == [CANCELED, NOT_FOUND]


@pytest.mark.parametrize("error", [OSError("the backend is down"), ImportError("SUPERVISOR_COMMS")])
def test_after_an_xcom_that_cannot_be_read_all_others_are_canceled_and_the_task_is_retried(
    runs: dict[str, Any], error: Exception, log
) -> None:
    runs["run_2"] = (200, {"id": "run_2", "status": "CANCELED"})
    given = context(start=error, stop="run_2")
    with pytest.raises(AirflowException, match="2 canceled - runs whose ids could not be read") as raised:
        operator(xcom_task_ids=["start", "stop"]).execute(given)
    assert not isinstance(raised.value, AirflowFailException)
    assert f"the XCom 'return_value' of task 'start' cannot be read: {type(error).__name__}" in str(
        raised.value
    )
    assert [one["run_id"] for one in given["ti"].pushed["return_value"]] == ["run_1", "run_2"]
    assert log.of("error")[0].startswith("the XCom 'return_value'")


def test_an_xcom_that_cannot_be_read_fails_the_task_also_if_there_is_nothing_else(log) -> None:
    with pytest.raises(AirflowException, match=r"0 Trigger\.dev runs - runs whose ids could not be read may"):
        operator(run_ids=None, xcom_task_ids="start").execute(context(start=OSError("down")))
    assert "nothing was canceled" not in str(log.leveled)


def test_a_task_that_the_dag_does_not_have_fails_the_task_for_good(log) -> None:
    made = operator(run_ids=None, xcom_task_ids="strat")
    with pytest.raises(AirflowFailException, match=r"the Dag has no such task; did you mean 'start'\?"):
        made.execute(context())
    assert "nothing was canceled" not in str(log.leveled)


def test_an_invalid_value_fails_the_task_after_all_valid_ids_were_canceled(
    runs: dict[str, Any], wire
) -> None:
    given = context()
    with pytest.raises(AirflowFailException, match=r"1 canceled - .*; 7 from run_ids\[1\] is not a valid"):
        operator(run_ids=["run_1", 7]).execute(given)
    assert len(wire.sent) == 2
    assert given["ti"].pushed["return_value"] == [CANCELED]


# Sources without run ids


EMPTY = [
    ({"run_ids": []}, "run_ids"),
    ({"run_ids": None, "xcom_task_ids": "start"}, "'start'"),
    ({"run_ids": None, "xcom_task_ids": "stop", "xcom_key": "strat"}, "'strat'"),
]


@pytest.mark.parametrize(("arguments", "named"), EMPTY)
def test_a_source_without_run_ids_is_a_warning_that_names_it(
    arguments: dict[str, Any], named: str, log
) -> None:
    assert operator(**arguments).execute(context(stop="run_1")) == []
    [text] = log.of("warning")
    assert named in text


@pytest.mark.parametrize(("arguments", "named"), EMPTY)
def test_it_fails_the_task_for_good_if_it_shall(arguments: dict[str, Any], named: str, log) -> None:
    with pytest.raises(AirflowFailException, match=named):
        operator(**arguments, on_empty="fail").execute(context(stop="run_1"))
    [text] = log.of("error")
    assert named in text


def test_each_empty_source_has_its_own_warning_and_all_are_named_in_the_failure(
    runs: dict[str, Any], log
) -> None:
    arguments: dict[str, Any] = {"run_ids": "run_1", "xcom_task_ids": ["start", "stop"]}
    assert operator(**arguments).execute(context()) == [CANCELED]
    warnings = log.of("warning")
    assert ["'start'" in text for text in warnings] == [True, False]
    given = context()
    with pytest.raises(AirflowFailException, match=r"1 canceled - .*'start'.*'stop'"):
        operator(**arguments, on_empty="fail").execute(given)
    assert given["ti"].pushed["return_value"] == [CANCELED]


def test_run_ids_that_became_none_are_named_also_next_to_the_xcom_of_tasks(runs: dict[str, Any], log) -> None:
    made = operator(run_ids="{{ x }}", xcom_task_ids="start")
    made.run_ids = None  # as rendered
    assert made.execute(context(start="run_1")) == [CANCELED]
    [text] = log.of("warning")
    assert text.startswith("run_ids is None: ")
    log.leveled.clear()
    assert operator(run_ids=None, xcom_task_ids="start").execute(context(start="run_1")) == [CANCELED]
    assert not log.of("warning")


def mapped_instance(value: Any, **arguments: Any) -> CancelTriggerRunOperator:
    """Make what Airflow makes of one value of ``expand(run_ids=...)`` when it runs."""
    return operator(run_ids=value, _airflow_from_mapped=True, **arguments)


def test_an_instance_of_a_mapped_task_that_gets_none_has_nothing_to_cancel(log) -> None:
    assert mapped_instance(None).execute(context()) == []
    assert [level for level, _ in log.leveled] == ["warning", "info"]


@pytest.mark.parametrize("argument", ["tags", "batch_ids"])
def test_none_in_place_of_a_mapped_selection_is_an_error(argument: str, log) -> None:
    made = mapped_instance(None, **{argument: None})
    with pytest.raises(AirflowFailException, match=f"None from {argument} is not a valid "):
        made.execute(context())


def test_an_instance_of_a_mapped_task_cancels_its_own_value(runs: dict[str, Any]) -> None:
    assert mapped_instance("run_1").execute(context()) == [CANCELED]


# Runs that were not canceled


def test_an_unknown_run_fails_the_task_for_good_unless_it_is_ignored(runs: dict[str, Any], log) -> None:
    with pytest.raises(AirflowFailException, match="not found: run_x"):
        operator(run_ids=["run_1", "run_x"]).execute(context())
    [text] = log.of("error")
    assert text.startswith("run_x (Trigger.dev task unknown): not found")
    log.leveled.clear()
    assert operator(run_ids=["run_x"], on_not_found="ignore").execute(context()) == [NOT_FOUND]
    assert not log.of("error")


def test_when_no_run_is_found_the_key_may_be_another_environments(runs: dict[str, Any], log) -> None:
    with pytest.raises(AirflowFailException, match="belong to another environment"):
        operator(run_ids=["run_x", "run_y"]).execute(context())
    operator(run_ids=["run_x"], on_not_found="ignore").execute(context())
    assert log.of("warning") == [
        "None of the runs was found: does the secret key of connection 'trigger_dev_default' belong to "
        "another environment?"
    ]


def test_an_unknown_value_that_does_not_look_like_a_run_id_gets_a_hint(runs: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match=r"not found: batch_1 \('batch_1' is a batch's id"):
        operator(run_ids=["run_1", "batch_1"]).execute(context())


@pytest.mark.parametrize(("status", "retries"), [(503, True), (429, True), (400, False), (403, False)])
def test_a_failure_that_another_try_can_cure_leaves_the_tasks_retries(
    runs: dict[str, Any], status: int, retries: bool
) -> None:
    runs["run_2"] = (status, {"error": "no"})
    given = context()
    with pytest.raises(
        AirflowException,
        match=r"1 canceled, 1 failed - 1 run may still run \(status unknown\); not canceled: run_2: ",
    ) as raised:
        operator(run_ids=["run_1", "run_2"]).execute(given)
    assert isinstance(raised.value, AirflowFailException) is not retries
    assert [result["outcome"] for result in given["ti"].pushed["return_value"]] == ["canceled", "failed"]


def test_a_rejected_key_fails_the_task_for_good_and_is_not_shown(runs: dict[str, Any], log) -> None:
    runs["run_1"] = runs["run_2"] = (401, {"error": "Invalid API key tr_prod_marker"})
    given = context()
    with pytest.raises(AirflowFailException) as raised:
        operator(run_ids=["run_1", "run_2"]).execute(given)
    assert (
        "Connection 'trigger_dev_default': the secret key was rejected: "
        "check the password of connection 'trigger_dev_default'; 2 runs may still run (status unknown)"
    ) in str(raised.value)
    assert "tr_prod_marker" not in f"{raised.value}{given['ti'].pushed}{log.leveled}"
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    assert [result["outcome"] for result in given["ti"].pushed["return_value"]] == ["failed", "failed"]


def test_a_rejected_preview_key_without_a_branch_gets_the_hint(
    runs: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"conn_type": "trigger_dev", "host": "trigger.test", "password": "tr_preview_marker"}
    monkeypatch.setenv("AIRFLOW_CONN_TRIGGER_DEV_DEFAULT", json.dumps(fields))
    runs["run_1"] = (401, {"error": "Invalid API key"})
    with pytest.raises(
        AirflowFailException, match=r"the secret key was rejected: a preview key .* needs a branch"
    ):
        operator(run_ids=["run_1"]).execute(context())


def test_a_missing_connection_is_named_and_not_retried() -> None:
    with pytest.raises(AirflowFailException, match="Connection 'mine' was not found; create it") as raised:
        operator(run_ids=["run_1", "run_2"], trigger_dev_conn_id="mine").execute(context())
    assert str(raised.value).endswith("; 2 runs may still run")


@pytest.mark.parametrize("given", [{}, {"ti": None}])
def test_executed_by_hand_it_fails_for_the_reason_that_it_has(given, runs: dict[str, Any]) -> None:
    with pytest.raises(AirflowFailException, match="not found: run_x"):
        operator(run_ids=["run_1", "run_x"]).execute(given)


def test_executed_by_hand_it_reads_xcoms_without_a_dag(runs: dict[str, Any]) -> None:
    given: Any = {"ti": TaskInstance(xcoms={"start": "run_1"})}
    assert operator(run_ids=None, xcom_task_ids="start").execute(given) == [CANCELED]


def test_an_xcom_backend_that_is_down_does_not_hide_why_the_task_fails(
    runs: dict[str, Any], monkeypatch: pytest.MonkeyPatch, log
) -> None:
    def fail(key: str, value: Any) -> None:
        raise OSError("the backend is down")

    given = context()
    monkeypatch.setattr(given["ti"], "xcom_push", fail)
    with pytest.raises(AirflowFailException, match="not found: run_x"):
        operator(run_ids=["run_1", "run_x"]).execute(given)
    assert ("error", "The results are not in XCom: OSError: the backend is down") in log.leveled


def test_without_xcom_nothing_is_pushed(runs: dict[str, Any]) -> None:
    given = context()
    with pytest.raises(AirflowFailException):
        operator(run_ids="run_x", do_xcom_push=False).execute(given)
    assert given["ti"].pushed == {}


def test_its_link_leads_to_the_first_run(runs: dict[str, Any]) -> None:
    made, given = operator(run_ids=["run_1", "run_2"]), context()
    assert [type(link) for link in made.operator_extra_links] == [TriggerRunLink]
    with pytest.raises(AirflowFailException, match="not found: run_2"):
        made.execute(given)
    url = "https://trigger.test/runs/run_1"
    assert (made.run_url, given["ti"].pushed["run_url"]) == (url, url)
    assert given["ti"].pushed["_link_TriggerRunLink"] == url


# What it hands to the cancellation, and how that may end


class Work:
    """Stands in for a cancellation, and for the hook's context manager that gives it."""

    stopped = False
    finished = True
    search: Any = None

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.arguments: dict[str, Any] = {}
        self.reads = 0

    @contextmanager
    def give(self, run_ids: list[str], settings: CancelSettings, **arguments: Any) -> Iterator[Work]:
        self.arguments = arguments | {"run_ids": run_ids, "settings": settings}
        yield self

    def run(self, further: Any) -> None:
        assert further is None
        if self.error:
            raise self.error

    @property
    def results(self) -> list[CancelResult]:
        self.reads += 1
        return [CancelResult(run_id="run_1", outcome=CancelOutcome.CANCELED, status="CANCELED")]


@pytest.fixture
def work(runs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    monkeypatch.setattr(TriggerDevHook, "cancellation", work.give)
    return work


def test_its_arguments_reach_the_cancellation(work: Work) -> None:
    made = operator(wait_for_termination=True, termination_timeout=7, poll_interval=3, max_concurrency=5)
    made.execute(context())
    assert not work.arguments["is_stopped"]()
    made.on_kill()
    assert work.arguments.pop("is_stopped")()
    assert work.arguments == {
        "run_ids": ["run_1"],
        "settings": CancelSettings(max_concurrency=5, termination_timeout=7, poll_interval=3),
    }


def test_without_waiting_there_is_no_termination_timeout(work: Work) -> None:
    operator(termination_timeout=7).execute(context())
    assert work.arguments["settings"].termination_timeout is None


@pytest.mark.parametrize("given", [True, False])
def test_descendants_are_included_on_request_only(work: Work, given: bool) -> None:
    operator(**({"include_descendants": True} if given else {})).execute(context())
    assert work.arguments["settings"].include_descendants is given


def test_the_log_says_where_runs_are_canceled_and_ends_with_a_summary(work: Work, log) -> None:
    operator().execute(context())
    assert log.leveled == [
        ("info", "Canceling 1 Trigger.dev run on https://trigger.test"),
        ("info", "run_1 (Trigger.dev task unknown): canceled, CANCELED https://trigger.test/runs/run_1"),
        ("info", "1 Trigger.dev run: 1 canceled"),
    ]


def test_a_search_for_descendants_that_was_not_finished_is_a_warning(work: Work, log) -> None:
    work.search = SimpleNamespace(query_error=None, unreadable={}, is_over=False, is_cut_off=False)
    operator(include_descendants=True).execute(context())
    [text] = log.of("warning")
    assert text == "Descendants may be missing, and still run: the search was not finished"


def test_a_run_that_is_not_terminated_in_time_is_a_warning_and_a_success(work: Work, log) -> None:
    made = operator(wait_for_termination=True, termination_timeout=3)
    assert made.execute(context())[0]["terminated"] is False
    assert log.leveled[-1] == ("warning", "Canceled, but not terminated within 3 s: run_1")
    assert work.reads == 1


def test_a_task_that_airflow_stopped_says_so_and_may_be_retried(work: Work, log) -> None:
    work.stopped, work.finished = True, False
    given = context()
    with pytest.raises(AirflowException, match="Airflow stopped the task before its work was done") as raised:
        operator(wait_for_termination=True).execute(given)
    assert not isinstance(raised.value, AirflowFailException)
    assert [result["run_id"] for result in given["ti"].pushed["return_value"]] == ["run_1"]
    assert not log.of("warning")


def test_a_stopped_task_sends_nothing_and_says_what_may_still_run(runs: dict[str, Any], wire) -> None:
    made = operator()
    made.on_kill()
    given = context()
    with pytest.raises(AirflowException, match="1 run may still run"):
        made.execute(given)
    assert wire.sent == []
    assert [result["outcome"] for result in given["ti"].pushed["return_value"]] == ["failed"]


class TaskTimeoutError(BaseException):
    """What Airflow raises in a task at its execution_timeout."""


def test_a_timeout_of_airflow_goes_on_after_the_results_were_kept_and_logged(work: Work, log) -> None:
    work.error = TaskTimeoutError()
    given = context()
    with pytest.raises(TaskTimeoutError):
        operator().execute(given)
    assert [result["run_id"] for result in given["ti"].pushed["return_value"]] == ["run_1"]
    assert log.leveled[-1] == ("info", "1 Trigger.dev run: 1 canceled")
    assert work.reads == 1


# Runs that it finds by tags


@pytest.fixture
def network(runs: dict[str, Any], wire, answer, monkeypatch: pytest.MonkeyPatch) -> Network:
    """A server whose list does not lag."""
    monkeypatch.setattr(search, "LIST_LAG", 0.0)
    made = Network(TriggerDevServer(secret_key="tr_prod_marker", acknowledge_after=0.05), answer)
    wire.script = made
    return made


def by_tag(**arguments: Any) -> CancelTriggerRunOperator:
    return operator(**{"run_ids": None, "tags": "a"} | arguments)


def test_runs_of_a_tag_are_named_before_they_are_canceled_and_its_link_leads_to_the_first(
    network: Network, log
) -> None:
    run = network.server.add_run("EXECUTING", tags=["a"], task_identifier="resize")
    given = context()
    by_tag().execute(given)
    assert given["ti"].pushed["run_url"] == f"https://trigger.test/runs/{run.id}"
    assert log.of("info")[:3] == [
        "Found 1 run alive by tags=['a']",
        f"1 of Trigger.dev task 'resize', EXECUTING: {run.id}",
        "Canceling 1 Trigger.dev run on https://trigger.test",
    ]


@pytest.mark.parametrize(
    ("run_ids", "left"),
    [(None, ""), (["run_1", "run_2"], "2 runs may still run; ")],
    ids=["none given", "two given"],
)
def test_without_its_connection_the_error_says_why_and_what_may_still_run(run_ids, left: str) -> None:
    with pytest.raises(AirflowFailException, match="Connection 'mine' was not found") as raised:
        by_tag(run_ids=run_ids, trigger_dev_conn_id="mine").execute(context())
    end = f"; {left}runs that were not found yet may still run"
    assert str(raised.value).endswith(end)
    assert str(raised.value).count("may still run") == end.count("may still run")


@pytest.mark.parametrize("given", [False, True])
def test_where_the_search_is_rejected_the_given_runs_are_canceled_and_the_task_is_not_retried(
    network: Network, answer, given: bool
) -> None:
    named = network.server.add_run("EXECUTING")
    network.fault("GET /api/v1/runs", answer(401, {"error": "Invalid API key"}), times=1000)
    with pytest.raises(AirflowFailException) as raised:
        by_tag(run_ids=named.id if given else None).execute(context())
    text = str(raised.value)
    assert "the secret key was rejected: check the password of connection 'trigger_dev_default'; " in text
    assert "; runs whose ids could not be read may still run; tags=['a']: not all runs could be " in text
    assert named.status == ("CANCELED" if given else "EXECUTING")


def test_a_stop_ends_the_search_and_nothing_more_is_sent(network: Network) -> None:
    run = network.server.add_run("EXECUTING", tags=["a"])
    made = by_tag()
    network.before = lambda _: made.on_kill()
    with pytest.raises(AirflowException, match="not all runs were searched, as the task was stopped"):
        made.execute(context())
    assert network.requests == ["GET /api/v1/runs"]
    assert run.status == "EXECUTING"
