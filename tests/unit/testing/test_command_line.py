"""The local server's command line: what it rejects, prints and reads; test_local_server_life.py runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_clock import Clock

from airflow_provider_trigger.testing import TriggerDevServer, __main__
from airflow_provider_trigger.testing.__main__ import RunLog, TaskFileError, add_tasks

Rejected = Callable[..., str]


@pytest.fixture
def rejected(capsys: pytest.CaptureFixture[str]) -> Rejected:
    """Run the command line, which rejects it, and return the line that says why."""

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            __main__.main(arguments)
        assert ended.value.code == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "Traceback" not in printed.err
        last_line: str = printed.err.splitlines()[-1]
        return last_line.partition(": error: ")[2]

    return run


STATUSES = (
    "PENDING_VERSION, QUEUED, DEQUEUED, EXECUTING, WAITING, DELAYED, COMPLETED, CANCELED, "
    "FAILED, CRASHED, SYSTEM_FAILURE, EXPIRED, TIMED_OUT, INTERRUPTED"
)
# For these values of an option, what is said after it.
REJECTED = {
    "--port": (["99999", "-1", "http"], "is not a valid port: must be a number from 0 to 65535"),
    "--runs": (
        ["EXECUTNG:1", "EXECUTNG", "", ":3"],
        f"does not start with a valid status: must be one of {STATUSES}",
    ),
    "--runs COMPLETED": (
        ["QUEUED:x", "QUEUED:-1", "queued:1.5"],
        "does not end with a valid number of runs: must be like QUEUED:3",
    ),
    "--speed": (
        ["0", "-1", "nan", "inf", "fast"],
        "is not valid: must be a number from 0.001 to 1000000",
    ),
    **{
        option: (["-1", "nan", "2s"], "is not valid: must be a number of seconds, at least 0")
        for option in ("--latency", "--acknowledge-after", "--query-lag", "--list-lag")
    },
}


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [(option, value, said) for option, (values, said) in REJECTED.items() for value in values],
)
def test_an_invalid_value_is_rejected(option: str, value: str, said: str, rejected: Rejected) -> None:
    name, *earlier = option.split()
    arguments = [name, *earlier, value] if name == "--runs" else [f"{name}={value}"]
    assert rejected(*arguments) == f"argument {name}: {value!r} {said}"


def test_a_run_has_a_line_when_it_is_started_and_one_when_it_ends(
    server: TriggerDevServer, clock: Clock
) -> None:
    earlier = server.add_run("EXECUTING", task_identifier="old", acknowledge_after=0)
    log = RunLog(server)
    server.on_task("resize", start_after=0, after=3)
    server.on_task("broken", start_after=0, after=0, error="no such file")
    run, broken = server.trigger("resize")[0], server.trigger("broken")[0]
    assert list(log.lines()) == [
        f"{run.id}  started    resize",
        f"{broken.id}  started    broken",
        f"{broken.id}  FAILED     broken  0.0 s  no such file",
    ]
    assert list(log.lines()) == []
    clock.now += 2
    earlier.cancel()
    clock.now += 2
    assert list(log.lines()) == [
        f"{earlier.id}  CANCELED   old  2.0 s",
        f"{run.id}  COMPLETED  resize  3.0 s",
    ]
    assert list(log.lines()) == []


Add = Callable[[str], list[str]]


@pytest.fixture
def add(server: TriggerDevServer, tmp_path: Path) -> Add:
    """Let the server have the tasks of a file."""

    def write(source: str) -> list[str]:
        file = tmp_path / "tasks.py"
        file.write_text(source)
        return add_tasks(server, str(file))

    return write


def test_functions_and_arguments_of_on_task(server: TriggerDevServer, clock: Clock, add: Add) -> None:
    identifiers = add(
        "import math\n\n"
        "def resize(payload):\n    return {'width': math.floor(payload['width'] / 2)}\n\n"
        "tasks = {'resize-image': resize, 'train': {'after': 60, 'output': 'a model'},\n"
        "         'broken': {'error': 'no such file'}}\n"
    )
    assert identifiers == ["resize-image", "train", "broken"]
    runs = [server.trigger(name, payload={"width": 5})[0] for name in (*identifiers, "other")]
    clock.now += 59
    assert [run.status for run in runs] == ["COMPLETED", "EXECUTING", "FAILED", "COMPLETED"]
    clock.now += 2
    assert [runs[0].output, runs[1].output, runs[3].output] == [{"width": 2}, "a model", {"width": 5}]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "tasks.py does not define tasks; write, for example:"),
        ("tasks = [1]", "tasks.py defines tasks=[1], which is not a dict; write, for example:"),
        ("tasks = {1: print}", "tasks.py: tasks[1]: not a valid identifier, must be a text; write"),
        ("tasks = {'a': 5}", "tasks.py: tasks['a']: not a valid task, must be a function, or a dict with"),
        ("tasks = {'a': {'outptu': 1}}", "tasks['a']: unexpected keyword argument 'outptu'"),
        ("tasks = {'a': {'after': '1m'}}", "tasks['a']: after='1m': must be a number of seconds, at least 0"),
        ("import math\nmath.nothing", "tasks.py, line 2: AttributeError: module 'math' has no attribute"),
        ("\nimport no_such_module", "tasks.py, line 2: ModuleNotFoundError: No module named"),
    ],
)
def test_an_invalid_file_says_what_to_write(add: Add, source: str, said: str) -> None:
    with pytest.raises(TaskFileError) as raised:
        add(source)
    assert said in str(raised.value)
