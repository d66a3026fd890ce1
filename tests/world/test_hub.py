"""What virtual time leaves alone."""

from __future__ import annotations

import threading
import time

from world import World

from airflow_provider_trigger.operators.run import RunTriggerTaskOperator

is_over = threading.Event()
beats = list[float]()


def beat() -> None:
    while not is_over.is_set():
        beats.append(time.monotonic())
        time.sleep(0.001)


THREAD = threading.Thread(target=beat, daemon=True)


def test_a_real_thread_begins() -> None:
    THREAD.start()


def test_it_goes_on_in_real_time_and_does_not_disturb(world: World) -> None:
    world.server.on_task("resize", after=50, output="done")
    given = {"task_id": "start", "task_identifier": "resize"}
    for number in range(20):
        task = world.task(lambda: RunTriggerTaskOperator(**given), start=number)
        assert task.run().state == "success"


def test_it_ends() -> None:
    before = len(beats)
    time.sleep(0.1)
    is_over.set()
    THREAD.join(5)
    assert not THREAD.is_alive()
    assert len(beats) > before
