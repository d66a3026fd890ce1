"""Start a run and wait for it, blocking and deferred, and what comes of its output."""

from __future__ import annotations

import json

import pytest

from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

WAYS = [False, True]  # deferrable

OUTPUTS = {
    "object": {"width": 100, "formats": ["png", "ü"]},
    "json_text": '{"a": 1}',
    "zero": 0,
    "half": ["half \ud83d"],
}
STORED = OUTPUTS | {"half": ["half \ufffd"]}

STARTS = """
for name in %r:
    for deferrable in (False, True):
        RunTriggerTaskOperator(
            task_id=f"{name}_{deferrable}",
            task_identifier=name,
            deferrable=deferrable,
            poll_interval=0.1,
            max_output_size=100_000,
        )
"""


def test_a_task_returns_the_output_of_its_run_and_pushes_its_id_and_page(server, run_tasks, said):
    for name, output in OUTPUTS.items():
        server.on_task(name, output=output, start_after=0, after=0.05)
    server.on_task("by_url", output=OUTPUTS["object"], output_by_url=True)
    server.on_task("silent")
    result = run_tasks(STARTS % [*OUTPUTS, "by_url", "silent"])
    assert result.state == "success"
    expected = STORED | {"by_url": STORED["object"]}  # Airflow stores no None
    assert result.xcoms == {f"{name}_{way}": output for name, output in expected.items() for way in WAYS}
    assert len(said.lines("No output of ")) == 2
    pushed = [result.pushed[f"{name}_{way}", "run_id"] for name in [*expected, "silent"] for way in WAYS]
    assert sorted(run_id for (run_id,) in pushed) == sorted(server.runs)
    for way in WAYS:
        (run_id,), (url,) = (result.pushed[f"zero_{way}", key] for key in ("run_id", "run_url"))
        assert url.endswith(f"/runs/{run_id}")
        assert result.pushed[f"zero_{way}", "_link_TriggerRunLink"] == [url]
    fetched = [request for request in server.requests if request.path.startswith("/packets/")]
    assert len(fetched) == 2
    assert not any("authorization" in request.headers for request in fetched)


LARGE = {"by_url": {"text": "ü" * 150_000}, "huge": "y" * 2_000_000, "unreadable": "x" * (16 * 1024**2 + 1)}


def test_a_large_output_is_a_reference_in_xcom_and_whole_for_the_hook(server, run_tasks, said):
    for name, output in LARGE.items():
        server.on_task(name, output=output)
    result = run_tasks(STARTS % list(LARGE))
    assert result.state == "success"
    hook = TriggerDevHook()
    for name, output in LARGE.items():
        size = len(json.dumps(output, ensure_ascii=False, separators=(",", ":")).encode())
        what = ("get_run", "output_url") if name == "unreadable" else ("max_output_size=100000",)
        for way in WAYS:
            (run_id,) = result.pushed[f"{name}_{way}", "run_id"]
            shown = size if name != "unreadable" else size - 2  # it is stored as it is
            assert result.xcoms[f"{name}_{way}"] == {"run_id": run_id, "output_size": shown}
            assert said.lines(f"The output of run {run_id} has {shown} bytes", *what)
        if name != "unreadable":
            assert hook.get_output(run_id) == output
    with pytest.raises(TriggerDevError, match=f"The output of run {run_id} has .* 16 MB") as raised:
        hook.get_output(run_id)
    assert "check the host" not in str(raised.value)
