"""The page of a run."""

from __future__ import annotations

from fake_clock import Clock
from in_process import routed

from airflow_provider_trigger.testing import TriggerDevServer


def test_it_shows_the_run(server: TriggerDevServer, clock: Clock) -> None:
    server.on_task("resize-image", start_after=0, after=3, output={"bytes": 4200})
    run, _ = server.trigger("resize-image", payload={"file": "cat.png"}, options={"tags": ["nightly"]})
    alive = bytes(routed(server, "GET", f"/runs/{run.id}").body).decode()
    clock.now += 5
    answer = routed(server, "GET", f"/runs/{run.id}")
    page = bytes(answer.body).decode()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for text in (
        run.id,
        "COMPLETED",
        "resize-image",
        "nightly",
        "2026-11-25T09:46:40.000Z",
        "2026-11-25T09:46:43.000Z",
        "&quot;file&quot;: &quot;cat.png&quot;",
        "&quot;bytes&quot;: 4200",
    ):
        assert text in page
    assert ("EXECUTING" in alive, 'http-equiv="refresh"' in alive, 'http-equiv="refresh"' in page) == (
        True,
        True,
        False,
    )
    assert server.secret_key not in page


def test_all_that_comes_from_a_client_is_escaped(server: TriggerDevServer, clock: Clock) -> None:
    code = "<script>alert(1)</script>"
    server.on_task(code, start_after=0, after=0, error=code)
    run, _ = server.trigger(code, payload={code: code}, options={"tags": [code], "metadata": {code: 1}})
    clock.now += 1
    page = bytes(routed(server, "GET", f"/runs/{run.id}").body).decode()
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 6
    unknown = routed(server, "GET", f"/runs/{code.replace('/', '%2F')}")
    assert (unknown.status_code, b"<script" in unknown.body) == (404, False)


def test_it_can_only_be_read(server: TriggerDevServer) -> None:
    run = server.add_run()
    assert routed(server, "POST", f"/runs/{run.id}").status_code == 405
    assert routed(server, "HEAD", f"/runs/{run.id}").status_code == 200
    assert routed(server, "GET", "/runs/").status_code == 404
