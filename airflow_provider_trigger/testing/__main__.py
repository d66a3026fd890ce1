"""Run the local Trigger.dev server from the command line."""

from __future__ import annotations

import argparse
import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .server import TriggerDevServer


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Serve until somebody interrupts or terminates the process.

    :param arguments: the command line, without the program's name
    """
    options = _parser().parse_args(arguments)
    stop = threading.Event()
    with (
        _called_at_a_signal(stop.set),
        TriggerDevServer(
            secret_key=options.secret_key,
            host=options.host,
            port=options.port,
            rate_limit=options.rate_limit or None,
            acknowledge_after=options.acknowledge_after,
            latency=options.latency,
        ) as server,
    ):
        connection = {"conn_type": "trigger_dev", "host": server.url, "password": server.secret_key}
        print(f"A local Trigger.dev server listens on {server.url}\n")
        for word, count in options.runs:
            for _ in range(count):
                print(f"  {word:16} {server.add_run(word).id}")
        print("\nLet Airflow use it:\n")
        print(f"  export AIRFLOW_CONN_TRIGGER_DEV_DEFAULT='{json.dumps(connection)}'\n")
        print("Stop it with Ctrl+C.", flush=True)
        stop.wait()


@contextmanager
def _called_at_a_signal(function: Callable[[], object]) -> Iterator[None]:
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
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    add("--port", type=int, default=8030, help="the port, 0 for any free one (default: %(default)s)")
    add("--secret-key", help="the secret key to accept (default: one that is obviously not real)")
    add("--rate-limit", type=int, default=750, help="requests in a burst, 0: any (default: %(default)s)")
    add("--latency", type=float, default=0.0, help="seconds that every answer takes (default: %(default)s)")
    add(
        "--acknowledge-after",
        type=float,
        default=0.2,
        help="seconds until a worker acknowledges a cancel (default: %(default)s)",
    )
    add(
        "--runs",
        nargs="*",
        type=_runs,
        default=[],
        metavar="STATUS[:COUNT]",
        help="runs to begin with, such as: EXECUTING:3 QUEUED COMPLETED",
    )
    return parser


def _runs(text: str) -> tuple[str, int]:
    """Read ``EXECUTING`` or ``EXECUTING:3``."""
    status, _, count = text.partition(":")
    return status.upper(), int(count or 1)


if __name__ == "__main__":
    main()
