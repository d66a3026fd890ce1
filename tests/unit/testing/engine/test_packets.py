"""Which outputs and payloads are large, and the URLs that open them."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from fake_clock import Clock

from airflow_provider_trigger.testing import UNSET, TriggerDevServer
from airflow_provider_trigger.testing.engine.packets import ObjectStore, output_packet, payload_packet
from airflow_provider_trigger.testing.engine.server_time import ServerTime


@pytest.mark.parametrize(
    ("output", "by_url", "name", "text"),
    [
        (UNSET, True, None, None),
        ("x" * 131_072, None, None, None),
        ("x" * 131_073, None, "attempt_1/output.txt", "x" * 131_073),
        ("é" * 65_537, None, "attempt_1/output.txt", "é" * 65_537),
        ("x" * 131_073, False, None, None),
        ("x", True, "attempt_1/output.txt", "x"),
        ([1, None], True, "attempt_1/output.json", '{"json":[1,null]}'),
        (None, True, "attempt_1/output.json", '{"json":null}'),
        ({"a": "x" * 131_060}, None, "attempt_1/output.json", '{"json":{"a":"' + "x" * 131_060 + '"}}'),
    ],
)
def test_outputs(output, by_url: bool | None, name: str | None, text: str | None) -> None:
    server = TriggerDevServer()
    server.on_task("resize", output=output, output_by_url=by_url, start_after=0, after=0)
    run, _ = server.trigger("resize")
    packet = output_packet(run.state)
    assert (packet and packet.name, packet and packet.text) == (name, text)


@pytest.mark.parametrize(("size", "large"), [(524_285, False), (524_286, True)])
def test_payloads(size: int, large: bool) -> None:
    packet = payload_packet("p" * size)
    assert (packet is not None) == large
    assert packet is None or packet.text == '"' + "p" * size + '"'
    assert payload_packet(UNSET) is None


def test_urls(clock: Clock) -> None:
    server, store = TriggerDevServer(clock=clock.time), ObjectStore(ServerTime(clock=clock.time))
    run, packet = server.add_run("QUEUED"), payload_packet("p" * 600_000)
    assert packet is not None
    urls = [store.presign(run, packet) for _ in range(2)]
    assert urls[0] != urls[1]
    (path, query), (other, _) = ((urlsplit(url).path, dict(parse_qsl(urlsplit(url).query))) for url in urls)
    assert path == other == f"/packets/proj_local/prod/{run.id}/payload.json"
    clock.now += 299
    assert store.open(path, query) is packet
    assert store.open(f"{path}x", query) is None
    assert store.open(path, query | {"X-Amz-Signature": "0"}) is None
    assert store.open(path, {}) is None
    clock.now += 1
    assert store.open(path, query) is None
