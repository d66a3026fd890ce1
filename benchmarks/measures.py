"""What is measured: each function yields rows of the table, each with its ratio and target."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import threading
import time
import tracemalloc
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
from airflow_provider_trigger.cancel.settings import CancelSettings

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
            name = f"200 runs, {latency * 1000:.0f} ms round trip; baseline: requests alone"
            yield _faster(f"{name}, {CONCURRENCY} at a time", provider, bare, target=0.9)
            if latency:
                loop = _seconds(lambda: _bare(server, server.add_runs(200), workers=1))
                yield _faster(f"{name}, one after another", provider, loop, target=10)


def _faster(scenario: str, provider: float, baseline: float, *, target: float) -> Row:
    ratio = baseline / provider
    return Row(
        scenario,
        f"{provider:.2f} s",
        f"{baseline:.2f} s",
        f"{ratio:.2f} x",
        f">= {target:g} x",
        ratio >= target,
    )


def rate_limit() -> Iterator[Row]:
    """Compare with the shortest time that the rate limit allows."""
    limit, refill, interval = 750, 250, 10.0
    with remote_server(rate_limit=limit, refill=refill, refill_interval=interval) as server:
        run_ids = server.add_runs(1500)
        provider = _seconds(lambda: cancel(server, run_ids))
        sent = server.requests()
        reserve = math.ceil(limit * 0.05)
        refills = math.ceil((len(sent) - (limit - reserve)) / refill)
        yield Row(
            f"1,500 runs, rate limit of {limit} requests and {refill} more every {interval:g} s; "
            "baseline: the shortest time that it allows",
            f"{provider:.1f} s, {len(sent)} requests",
            f"{refills * interval:.1f} s",
            f"{provider / (refills * interval):.2f} x",
            "<= 1.05 x",
            provider <= 1.05 * refills * interval,
        )
        yield _none("the same: requests rejected with 429", Counter(status for _, _, status, _ in sent)[429])
        yield _none("the same: runs not canceled", 1500 - server.statuses()["CANCELED"])


def shared_rate_limit() -> Iterator[Row]:
    """Count how often the requests of another client of the same environment are rejected meanwhile."""
    with remote_server() as server:
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
        yield _none(
            f"1,000 runs, while an application sends {answers.total()} requests: of these rejected with 429",
            answers[429],
        )


def _none(scenario: str, count: int) -> Row:
    return Row(scenario, str(count), "", "", "0", count == 0)


def memory() -> Iterator[Row]:
    """Compare the memory of many runs with that of their results as plain JSON."""
    for count in (10_000, 50_000):
        yield _memory(count)


def _memory(count: int) -> Row:
    with remote_server(rate_limit=None) as server:
        run_ids = server.add_runs(count)
        cancel(server, run_ids[:1])
        tracemalloc.start()
        results = cancel(server, run_ids)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        kept = [result.to_dict() for result in results]
        size = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return Row(
            f"{count:,} run ids, peak memory; baseline: the {len(kept):,} results as plain JSON",
            f"{peak / 1e6:.1f} MB, {peak / count:.0f} bytes a run",
            f"{size / 1e6:.1f} MB",
            f"{peak / size:.1f} x",
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
    for module in _IMPORTED:
        name = f"airflow_provider_trigger.{module}"
        done = [_import(name, base=_BASES.get(module, "airflow")) for _ in range(ROUNDS)]
        took = statistics.median(seconds for seconds, _ in done) * 1000
        clients.update(*(loaded for _, loaded in done))
        yield Row(f"import {name}", f"{took:.1f} ms", "", "", "<= 30 ms", took <= 30)
    yield _none(
        "these imports: of requests and urllib3, how many they load in addition to Airflow", len(clients)
    )


def _import(module: str, *, base: str) -> tuple[float, list[str]]:
    """Return how long an import takes in a new process, and the HTTP clients that it loads."""
    code = _IMPORT.format(module=module, base=base)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *clients = done.stdout.splitlines()[-1].split()
    return float(seconds), clients
