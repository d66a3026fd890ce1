"""What the local server's command line refuses; test_local_server_life.py runs it."""

from __future__ import annotations

import socket

import pytest

from airflow_provider_trigger.testing import __main__


@pytest.fixture
def refused(capsys):
    """Run the command line, which refuses it, and return the line that says why."""

    def run(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            __main__.main(arguments)
        assert ended.value.code == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert "Traceback" not in printed.err
        return printed.err.splitlines()[-1].partition(": error: ")[2]

    return run


def test_a_port_in_use_is_told_with_the_way_out(refused):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert refused("--port", str(port)) == (
            f"port {port} is in use; take another one with --port, or --port 0 for any free one"
        )


def test_an_address_of_another_machine_is_refused(refused):
    # Of a network for documentation (RFC 5737), so nobody's.
    assert refused("--host", "192.0.2.1").startswith("can't listen on 192.0.2.1, port 8030: ")


@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_what_is_no_port_is_refused(port, refused):
    assert refused("--port", port).endswith(f"{port!r} is no port: a number from 0 to 65535")


@pytest.mark.parametrize("runs", ["EXECUTNG:1", "EXECUTNG", "", ":3"])
def test_an_unknown_status_is_refused_with_the_known_ones(runs, refused):
    assert refused("--runs", runs) == (
        f"argument --runs: {runs!r} begins with no known status; known are PENDING_VERSION, QUEUED, "
        "DEQUEUED, EXECUTING, WAITING, DELAYED, COMPLETED, CANCELED, FAILED, CRASHED, SYSTEM_FAILURE, "
        "EXPIRED, TIMED_OUT, INTERRUPTED"
    )


@pytest.mark.parametrize("runs", ["QUEUED:x", "QUEUED:-1", "queued:1.5"])
def test_what_is_no_count_is_refused(runs, refused):
    assert refused("--runs", "COMPLETED", runs) == (
        f"argument --runs: {runs!r} does not end with a number of runs, such as QUEUED:3"
    )
