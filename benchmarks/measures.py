"""What is measured: each function yields rows of the table, each with its ratio and target."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import requests
from remote_server import RemoteServer, remote_server
from requests.adapters import HTTPAdapter

from airflow_provider_trigger.api.client import TriggerDevClient
from airflow_provider_trigger.api.http import ServerSettings
from airflow_provider_trigger.cancel.cancellation import Cancellation
from airflow_provider_trigger.cancel.outcome import CancelResult
from airflow_provider_trigger.cancel.record import CancelSettings

CONCURRENCY = 32
NAME = "benchmark"
ROUNDS = 5


@dataclass
class Row:
    """
    One row of the table.

    :param scenario: what is done, and what the baseline is
    :param provider: how long this provider took, or what it needed, with the unit
    :param baseline: the same of the baseline, empty if there is none
    :param ratio: of the two, empty if there is no baseline
    :param target: what the ratio, or the provider's figure without one, must be; empty for no target
    :param target_met: whether it is
    """

    scenario: str
    provider: str
    baseline: str
    ratio: str
    target: str = ""
    target_met: bool = True


def cancel(server: RemoteServer, run_ids: list[str]) -> list[CancelResult]:
    """Cancel as the operator does."""
    settings = ServerSettings(base_url=server.url, secret_key=server.secret_key, user_agent=NAME)
    with TriggerDevClient(settings) as client:
        return Cancellation(client, run_ids, CancelSettings(max_concurrency=CONCURRENCY)).run()


def _bare(server: RemoteServer, run_ids: list[str], *, workers: int) -> None:
    """Send the same requests with ``requests`` alone."""
    session = requests.Session()
    session.mount("http://", HTTPAdapter(pool_maxsize=workers))
    session.headers["Authorization"] = f"Bearer {server.secret_key}"
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda run_id: session.post(f"{server.url}/api/v2/runs/{run_id}/cancel"), run_ids))
        list(pool.map(lambda run_id: session.get(f"{server.url}/api/v3/runs/{run_id}").json(), run_ids))


def _seconds(work: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    work()
    return time.perf_counter() - started_at


def two_hundred_runs() -> Iterator[Row]:
    """Compare with the same requests sent by ``requests`` alone, in parallel and one after another."""
    for latency in (0.0, 0.05):
        with remote_server(rate_limit=None, latency=latency) as server:
            pairs = [
                (
                    _seconds(lambda: _bare(server, server.add_runs(200), workers=CONCURRENCY)),
                    _seconds(lambda: cancel(server, server.add_runs(200))),
                )
                for _ in range(ROUNDS)
            ]
            bare, provider = (statistics.median(times) for times in zip(*pairs, strict=True))
            trip = f"{latency * 1000:.0f} ms round trip"
            name = f"cancel 200 runs, {trip}; baseline: requests alone, {CONCURRENCY} at a time"
            yield _faster(f"the same, {trip}" if latency else name, provider, bare, target=0.9)
            if latency:
                loop = _seconds(lambda: _bare(server, server.add_runs(200), workers=1))
                yield _faster("baseline: one after another", provider, loop, target=10)


def _faster(scenario: str, provider: float, baseline: float, *, target: float) -> Row:
    ratio = baseline / provider
    return Row(
        scenario,
        f"{provider:.2f} s",
        f"{baseline:.2f} s",
        f"{ratio:.2f}",
        f">= {target:g}",
        ratio >= target,
    )


def rate_limit() -> Iterator[Row]:
    """Compare with the shortest time that the rate limit allows, where only single cancels work."""
    limit, refill, interval, count = 750, 250, 10.0, 1000
    bucket = {"rate_limit": limit, "refill": refill, "refill_interval": interval}
    with remote_server(**bucket, bulk_actions=False) as server:
        run_ids = server.add_runs(count)
        provider = _seconds(lambda: cancel(server, run_ids))
        sent = server.requests()
        reserve = math.ceil(limit * 0.05)
        refills = math.ceil((len(sent) - (limit - reserve)) / refill)
        rejected = sum(status == 429 for _, _, status, _ in sent)
        alive = count - server.statuses()["CANCELED"]
        yield Row(
            f"cancel {count:,} runs, without bulk actions; baseline: what the rate limit allows",
            f"{provider:.1f} s, {len(sent)} requests, {rejected} rejected, {alive} alive",
            f"{refills * interval:.1f} s",
            f"{provider / (refills * interval):.2f}",
            "<= 1.05, 0, 0",
            provider <= 1.05 * refills * interval and not rejected and not alive,
        )


def shared_rate_limit() -> Iterator[Row]:
    """Count how often the requests of another client of the same environment are rejected meanwhile."""
    with remote_server(bulk_actions=False) as server:
        run_ids = server.add_runs(1000)
        other = server.add_runs(1)[0]
        answers: Counter[int] = Counter()
        done = threading.Event()

        def use() -> None:
            # Two requests a second, as an application might.
            session = requests.Session()
            while not done.wait(0.5):
                answer = session.get(
                    f"{server.url}/api/v3/runs/{other}",
                    headers={"Authorization": f"Bearer {server.secret_key}"},
                )
                answers[answer.status_code] += 1

        application = threading.Thread(target=use)
        application.start()
        cancel(server, run_ids)
        done.set()
        application.join()
        yield Row(
            "the same: requests of another application meanwhile",
            f"{answers.total()}, {answers[429]} rejected",
            "",
            "",
            "0 rejected",
            not answers[429],
        )


_IMPORT = """
import sys, time
try:
    from airflow.sdk import BaseOperator
except ImportError:
    from airflow.models.baseoperator import BaseOperator
import {base}
before = set(sys.modules)
started_at = time.perf_counter()
import {module}
took = time.perf_counter() - started_at
clients = {{name.split(".")[0] for name in set(sys.modules) - before}} & {{"requests", "urllib3"}}
print(took, *clients)
"""

# What the module extends, where Airflow has not loaded that with BaseOperator.
_BASES = {"triggers.run": "airflow.triggers.base"}
_IMPORTED = (
    "operators.run",
    "sensors.run",
    "triggers.run",
    "operators.cancel",
    "notifications.cancel",
    "hooks.trigger_dev",
)


def imports() -> Iterator[Row]:
    """Time the imports that parsing a Dag needs, in addition to Airflow's own."""
    clients: set[str] = set()
    times: dict[str, float] = {}
    for module in _IMPORTED:
        name = f"airflow_provider_trigger.{module}"
        done = [_import(name, base=_BASES.get(module, "airflow")) for _ in range(ROUNDS)]
        times[module] = statistics.median(seconds for seconds, _ in done) * 1000
        clients.update(*(loaded for _, loaded in done))
    slowest = max(times, key=times.__getitem__)
    yield Row(
        f"slowest of {len(times)} imports, on top of Airflow",
        f"{slowest} {times[slowest]:.1f} ms, {len(clients)} HTTP libraries",
        "",
        "",
        "<= 30 ms, 0",
        times[slowest] <= 30 and not clients,
    )


def _import(module: str, *, base: str) -> tuple[float, list[str]]:
    """Return how long an import takes in a new process, and the HTTP clients that it loads."""
    code = _IMPORT.format(module=module, base=base)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *clients = done.stdout.splitlines()[-1].split()
    return float(seconds), clients
