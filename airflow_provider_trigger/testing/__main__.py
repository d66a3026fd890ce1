"""Run the local Trigger.dev server from the command line."""

from __future__ import annotations

import argparse
import errno
import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .engine import defaults
from .engine.environments import default_key
from .engine.states import ALIVE, FINAL
from .server import TriggerDevServer


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Serve until the process is interrupted or terminated.

    :param arguments: the command line, without the program's name
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    stop = threading.Event()
    server = TriggerDevServer(
        secret_key=options.secret_key,
        host=options.host,
        port=options.port,
        rate_limit=options.rate_limit or None,
        acknowledge_after=options.acknowledge_after,
        latency=options.latency,
    )
    with _on_signal(stop.set):
        try:
            server.start()
        except OSError as error:
            parser.error(_why_not_started(options.host, options.port, error))
        try:
            _print_introduction(server, options.runs)
            stop.wait()
        finally:
            server.stop()


def _why_not_started(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use; choose another one with --port, or --port 0 for any free one"
    return f"can't listen on {host}, port {port}: {error.strerror}; choose others with --host and --port"


def _print_introduction(server: TriggerDevServer, runs: Sequence[tuple[str, int]]) -> None:
    """Add the first runs, and print the URL, the runs and the connection."""
    connection = {"conn_type": "trigger_dev", "host": server.url, "password": server.secret_key}
    print(f"A local Trigger.dev server listens on {server.url}\n")
    for word, count in runs:
        for _ in range(count):
            print(f"  {word:16} {server.add_run(word).id}")
    print("\nLet Airflow use it:\n")
    print(f"  export AIRFLOW_CONN_TRIGGER_DEV_DEFAULT='{json.dumps(connection)}'\n")
    print("Stop it with Ctrl+C.", flush=True)


@contextmanager
def _on_signal(function: Callable[[], object]) -> Iterator[None]:
    """Call a function when the process is interrupted or terminated; afterwards its signals are as before."""
    before = {
        number: signal.signal(number, lambda *_: function()) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_trigger.testing",
        description="A local Trigger.dev server, to try Airflow on without an account.",
    )
    options: tuple[tuple[str, Callable[[str], object], object, str], ...] = (
        ("--host", str, defaults.HOST, "the address to listen on"),
        ("--port", _port, defaults.PORT, "the port, 0 for any free one"),
        ("--secret-key", str, default_key(defaults.ENVIRONMENT), "the secret key"),
        ("--rate-limit", int, defaults.RATE_LIMIT, "requests in a burst, 0 for no limit"),
        ("--latency", float, defaults.LATENCY, "seconds that every answer takes"),
        (
            "--acknowledge-after",
            float,
            defaults.ACKNOWLEDGE_AFTER,
            "seconds until a worker acknowledges a cancel",
        ),
    )
    for name, kind, default, text in options:
        parser.add_argument(name, type=kind, default=default, help=f"{text} (default: %(default)s)")
    parser.add_argument(
        "--runs",
        nargs="*",
        type=_runs,
        default=[],
        metavar="STATUS[:COUNT]",
        help="runs to begin with, such as: EXECUTING:3 QUEUED COMPLETED",
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a valid port: must be a number from 0 to 65535")
    return int(text)


def _runs(text: str) -> tuple[str, int]:
    """Read ``EXECUTING`` or ``EXECUTING:3``."""
    status, _, count = text.upper().partition(":")
    if status not in ALIVE + FINAL:
        raise argparse.ArgumentTypeError(
            f"{text!r} does not start with a valid status: must be one of {', '.join(ALIVE + FINAL)}"
        )
    if count and not count.isdecimal():
        raise argparse.ArgumentTypeError(
            f"{text!r} does not end with a valid number of runs: must be like {status}:3"
        )
    return status, int(count or 1)


if __name__ == "__main__":
    main()
