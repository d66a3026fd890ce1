"""What the local server's command line rejects; test_local_server_life.py runs it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_trigger.testing import __main__

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


def test_a_port_in_use_is_rejected_with_a_way_out(rejected: Rejected) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert rejected("--port", str(port)) == (
            f"port {port} is in use; choose another one with --port, or --port 0 for any free one"
        )


def test_an_address_of_another_machine_is_rejected(rejected: Rejected) -> None:
    # Of a network for documentation (RFC 5737), so no machine's.
    assert rejected("--host", "192.0.2.1").startswith("cannot listen on 192.0.2.1, port 8030: ")


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


def test_an_invalid_file_of_tasks_is_rejected_with_an_example(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "tasks.py"
    file.write_text("task = {}")
    with pytest.raises(SystemExit):
        __main__.main(["--tasks", str(file), "--port", "0"])
    said = capsys.readouterr().err
    assert f"error: {file} does not define tasks; write, for example:\n\ndef resize(payload):" in said
