"""The order in which things happen to a run."""

from __future__ import annotations

from airflow_provider_trigger.testing.engine.timeline import Event, Timeline


def test_events_come_in_order_external_ones_last_and_each_with_its_time() -> None:
    timeline = Timeline()
    happened: list[tuple[str, float]] = []

    def record(name: str) -> Event:
        return lambda at: happened.append((name, at))

    for at, name, external in (
        (2.0, "bulk", True),
        (2.0, "step", False),
        (1.0, "early", False),
        (3.0, "late", False),
    ):
        timeline.add(at, record(name), external=external)
    timeline.run_until(2.5)
    assert happened == [("early", 1.0), ("step", 2.0), ("bulk", 2.0)]
    assert timeline.can_change
    timeline.run_until(3.0)
    assert timeline.empty


def test_a_cancel_drops_all_but_external_events() -> None:
    timeline = Timeline()
    timeline.add(1.0, lambda at: None)
    timeline.add(1.0, lambda at: None, external=True)
    timeline.drop()
    assert not timeline.empty
    assert not timeline.can_change


def test_what_an_event_adds_happens_too_if_it_is_due() -> None:
    timeline = Timeline()
    happened: list[float] = []
    timeline.add(1.0, lambda at: timeline.add(at + 1, happened.append))
    timeline.run_until(1.9)
    assert happened == []
    timeline.run_until(2.0)
    assert happened == [2.0]
