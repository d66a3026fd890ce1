"""Dags that start when runs end: each end is an event, whatever becomes of the triggerer and the server."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

import pytest
from browser.chromium import logged_in
from browser.pictures import SHOWN, take_picture
from playwright.sync_api import expect
from whole_airflow.airflow import WholeAirflow
from whole_airflow.processes import wait_until
from whole_airflow.versions import AIRFLOW, HAS_WATCHERS

from airflow_provider_trigger.testing import TriggerDevServer

pytestmark = pytest.mark.skipif(not HAS_WATCHERS, reason="this Airflow has no watchers of assets")

EXAMPLE = "on_run_end"
WATCHERS = ("events_of_task", "events_of_tag")
# How long before a kill or a pause an event may come that is sent again, in seconds: more on a busy machine.
AGAIN_WITHIN = 80.0
THRESHOLD = "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD"


def let_begin(airflow: WholeAirflow, *names: str) -> None:
    """Let watchers begin: what has ended before is no event."""
    for name in names:
        airflow.api.watch(name)

    def begun() -> bool:
        return all(f"Watcher '{name}' begins" in airflow.triggerer_log() for name in names)

    wait_until(begun, timeout=60, what=f"the watchers {names} to begin")


@pytest.fixture
def watching(airflow: WholeAirflow) -> Iterator[None]:
    """Let the watchers begin; a triggerer that starts takes over those of one that was killed at once."""
    for triggerer in airflow.triggerers:
        triggerer.environment[THRESHOLD] = "8"
    let_begin(airflow, *WATCHERS)
    yield
    for name in WATCHERS:
        airflow.api.watch(name, begins=False)
    for triggerer in airflow.triggerers:
        del triggerer.environment[THRESHOLD]
        triggerer.stop()
        triggerer.start()
    airflow.wait_until_healthy()


def events_of(airflow: WholeAirflow, name: str) -> dict[str, list[float]]:
    """Return when the events of an asset came, without repeats, by the ids of their runs; none if unknown."""
    found: dict[str, list[float]] = {}
    try:
        pages = list(airflow.api.pages("/assets/events"))
    except (AssertionError, OSError):  # Airflow answers 500 where a Dag run of an event has not started yet
        return found
    for event in [event for _, page in pages for event in page["asset_events"] if event["name"] == name]:
        at, payload = datetime.fromisoformat(event["timestamp"]).timestamp(), event["extra"]["payload"]
        if not payload["is_repeat"]:
            found.setdefault(payload["run_id"], []).append(at)
    return {run_id: sorted(times) for run_id, times in found.items()}


class Seen:
    """The runs whose ends the Dag runs of a watcher's Dag have."""

    def __init__(self, airflow: WholeAirflow, name: str) -> None:
        self._api, self._name = airflow.api, name
        self._by_dag_run: dict[str, set[str]] = {}

    def update(self) -> set[str]:
        """Return all so far."""
        for dag_run_id in self._api.dag_runs(self._name).keys() - self._by_dag_run.keys():
            if (events := self._api.triggering_events(self._name, dag_run_id)) is not None:
                self._by_dag_run[dag_run_id] = {event["extra"]["payload"]["run_id"] for event in events}
        return set().union(*self._by_dag_run.values())


@contextmanager
def ending_runs(server: TriggerDevServer) -> Iterator[dict[str, list[str]]]:
    """Let a run end each second; return the ids of those whose end each watcher is to send."""
    ended: dict[str, list[str]] = {name: [] for name in WATCHERS}
    is_done = threading.Event()

    def end_runs() -> None:
        kinds = itertools.cycle([("tick", "COMPLETED"), ("tick", "FAILED"), ("other", "COMPLETED")])
        while not is_done.wait(random.uniform(0.2, 1)):
            task, status = next(kinds)
            run = server.add_run(status, task_identifier=task, tags=["ticking", "on-time"])
            for name in WATCHERS if (task, status) == ("tick", "COMPLETED") else WATCHERS[1:]:
                ended[name].append(run.id)

    thread = threading.Thread(target=end_runs)
    thread.start()
    try:
        yield ended
    finally:
        is_done.set()
        thread.join()


def disturb(airflow: WholeAirflow) -> list[tuple[float, float]]:
    """Kill the triggerers and pause a Dag; return from when to when events may be sent twice."""
    lost: list[tuple[float, float]] = []

    @contextmanager
    def disturbance(*names: str) -> Iterator[None]:
        """Do something after a while; wait until these watchers continue."""
        time.sleep(random.uniform(4, 8))
        lines = [f"Watcher '{name}' continues" for name in names]
        before = {line: airflow.triggerer_log().count(line) for line in lines}
        at = time.time()
        yield

        def do_continue() -> bool:
            log = airflow.triggerer_log()
            return all(log.count(line) > count for line, count in before.items())

        wait_until(do_continue, timeout=120, what=f"a restart of {names}")
        lost.append((at, time.time()))  # until the next watcher continues, the former one may run

    with disturbance(*WATCHERS):
        for triggerer in airflow.triggerers:
            triggerer.kill()
            triggerer.start()
    with disturbance(WATCHERS[0]):
        airflow.api.watch(WATCHERS[0], begins=False)
        time.sleep(10)
        airflow.api.watch(WATCHERS[0])
    return lost


def test_the_example_names_the_runs_that_have_ended(airflow: WholeAirflow, server: TriggerDevServer) -> None:
    let_begin(airflow, EXAMPLE)
    run = server.add_run("EXECUTING", task_identifier="resize-image", then=[(10, "FAILED")])

    def reported() -> bool:
        ids = airflow.api.dag_runs(EXAMPLE)
        return any(
            f"FAILED: {server.url}/runs/{run.id}" in (airflow.api.xcom(EXAMPLE, one, "report") or [])
            for one in ids
        )

    wait_until(reported, timeout=90, interval=1, what="a Dag run that names the run")
    airflow.api.watch(EXAMPLE, begins=False)


@pytest.mark.skipif(SHOWN[-1] != AIRFLOW, reason="the documentation shows the newest release")
def test_the_asset_looks_as_in_the_documentation(airflow: WholeAirflow) -> None:
    assets = [asset for _, page in airflow.api.pages("/assets") for asset in page["assets"]]
    [asset_id] = [asset["id"] for asset in assets if asset["name"] == "resized_images"]
    with logged_in(airflow.api.url, asks_for_password=False) as browser:
        page = browser.new_page()
        page.set_viewport_size({"width": 1300, "height": 960})
        page.goto(f"{airflow.api.url}/assets/{asset_id}")
        expect(page.get_by_text("Source: Trigger")).to_be_visible(timeout=20_000)
        for part in ("payload", "resize-image"):
            page.locator(".codicon-folding-collapsed").first.click()
            expect(page.get_by_text(part)).to_be_visible(timeout=20_000)
        take_picture("events-asset", page.locator("body"))


def test_the_dag_runs_of_each_watcher_have_each_end_also_of_a_burst(
    airflow: WholeAirflow, server: TriggerDevServer, watching: None
) -> None:
    with ending_runs(server) as ended:
        lost = disturb(airflow)
    seen = {name: Seen(airflow, name) for name in WATCHERS}

    def missing() -> dict[str, set[str]]:
        return {name: ids for name in WATCHERS if (ids := {*ended[name]} - seen[name].update())}

    wait_until(lambda: not missing(), timeout=90, interval=2, what=lambda: f"Dag runs of {missing()}")
    for _ in range(40):
        run = server.add_run("COMPLETED", task_identifier="tick", tags=["ticking"])
        for name in WATCHERS:
            ended[name].append(run.id)
    wait_until(lambda: not missing(), timeout=60, interval=2, what=lambda: f"Dag runs of {missing()}")
    time.sleep(10)  # nothing is sent again without a reason
    for name in WATCHERS:
        events = wait_until(partial(events_of, airflow, name), timeout=60, what=f"events of {name}")
        assert events.keys() == {*ended[name]}
        for at in [at for times in events.values() for at in times[:-1]]:  # these were sent again
            assert any(since - AGAIN_WITHIN <= at <= until + 1 for since, until in lost), (at, lost)
        assert "success" in airflow.api.dag_runs(name).values()
