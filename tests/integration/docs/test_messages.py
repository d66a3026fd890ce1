"""What the pages say that the code says, is what it says: in errors, in the log, and at the Test button."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from docs_pages import ROOT, matches, rows

from airflow_provider_trigger.cancel.outcome import CancelOutcome
from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.testing import TriggerDevServer


@pytest.fixture
def tls_server(tmp_path) -> Iterator[TriggerDevServer]:
    """A server whose certificate no one has signed but itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "local")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    certificate = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    kinds = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *kinds))
    with TriggerDevServer(
        ssl_certfile=str(tmp_path / "cert.pem"), ssl_keyfile=str(tmp_path / "key.pem")
    ) as server:
        yield server


BUTTON: dict[str, Callable[..., Any]] = {
    "Connected to": lambda server, connect: None,
    "was rejected": lambda server, connect: connect(key="tr_prod_wrong"),
    "preview key": lambda server, connect: connect(key="tr_preview_x"),
    "may not list": lambda server, connect: server.fail_next(status=403),
    "TLS trouble": lambda server, connect: connect(host=f"https://127.0.0.1:{server.port}"),
    "could not be reached": lambda server, connect: server.stop(),
    "is no Trigger.dev server": lambda server, connect: server.garbage_next(),
    "not as hoped": lambda server, connect: server.fail_next(status=503),
}


@pytest.mark.parametrize("shown", [row[0] for row in rows("connection.md", "| it says | what to do |")])
def test_what_the_button_says(shown, server, tls_server, connect):
    server = tls_server if "TLS" in shown else server
    connect()
    (prepare,) = [action for words, action in BUTTON.items() if words in shown]
    prepare(server, connect)
    works, message = TriggerDevHook().test_connection()
    assert works is ("Connected" in shown)
    assert matches(shown, message)


# Outcomes and errors.


def test_outcomes():
    shown = [row[0].strip("`") for row in rows("outcomes.md", "| outcome | what it means | the task |")]
    assert shown == [outcome.value for outcome in CancelOutcome]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"| `{outcome}` |" in readme for outcome in shown)


class Scene:
    """What a scenario has at hand."""

    def __init__(self, server: Any, tls_server: Any, connect: Any, cancel: Any, make_context: Any, said: Any):
        self.server, self.tls_server, self.connect = server, tls_server, connect
        self.run_operator, self.make_context, self.said = cancel, make_context, said
        self.error = ""

    def cancel(self, *run_ids: Any, **options: Any) -> None:
        execution = self.run_operator(*(run_ids or [self.server.add_run()]), **options)
        self.error = str(execution.error)

    def notify(self, *, context: Any = None, **options: Any) -> None:
        CancelTriggerRunNotifier(**options).notify(context or {})

    def fail(self, fault: str, **options: Any) -> None:
        getattr(self.server, fault)(times=None, **options)
        self.cancel()


def wrong_key(scene: Scene) -> None:
    scene.connect(key="tr_prod_wrong")
    scene.cancel("run_a")


def never_over(scene: Scene) -> None:
    run = scene.server.add_run(acknowledge_after=None)
    scene.cancel(run, wait_for_termination=True, termination_timeout=0.2, poll_interval=0.1)


def killed(scene: Scene) -> None:
    scene.server.latency = 0.2
    operator = CancelTriggerRunOperator(task_id="cancel", run_ids=[scene.server.add_run().id])
    operator.on_kill()
    with pytest.raises(Exception, match="killed") as raised:
        operator.execute(scene.make_context())
    scene.error = str(raised.value)


def on_airflow_3_0(scene: Scene) -> None:
    with pytest.MonkeyPatch.context() as patch:
        module = "airflow_provider_trigger.notifications.cancel"
        patch.setattr(f"{module}.xcom_is_out_of_reach", lambda: True)
        scene.notify(xcom_task_ids="start", context=scene.make_context({"start": None}))


def nobody_listens(scene: Scene) -> None:
    scene.server.stop()
    scene.cancel("run_a")


def no_answer(scene: Scene) -> None:
    scene.connect(timeout=0.2, retry_for=0)
    scene.fail("never_answer_next")


def bad_certificate(scene: Scene) -> None:
    scene.connect(host=scene.tls_server.url)
    scene.cancel("run_a")


def no_proxy(scene: Scene) -> None:
    scene.connect(host="http://trigger.example.com", proxy="http://127.0.0.1:9", retry_for=0)
    scene.cancel("run_a")


def still_alive(scene: Scene) -> None:
    scene.server.garbage_next(None, "{}", "application/json", path="/cancel")
    scene.cancel()


def unreadable(scene: Scene) -> None:
    scene.server.fail_next(None, 404, method="GET", headers={"x-should-retry": "false"})
    scene.cancel()


def out_of_time(scene: Scene) -> None:
    scene.server.latency = 0.3
    scene.notify(run_ids=["run_a", "run_b", "run_c"], timeout=0.45, max_concurrency=1)


def no_time_to_look(scene: Scene) -> None:
    scene.server.latency = 0.2
    runs = [scene.server.add_run().id for _ in range(3)]
    scene.notify(run_ids=runs, timeout=0.7, max_concurrency=1)


# A text that only one row has, and what makes the code say it.
SCENARIOS: dict[str, Callable[[Scene], None]] = {
    "There are no run ids": lambda scene: scene.cancel("None"),
    "Nothing was pushed": lambda scene: scene.cancel("run_a", xcoms={"start": None}, xcom_task_ids="start"),
    "did you mean": lambda scene: scene.cancel("run_a", xcoms={"start": None}, xcom_task_ids="strat"),
    "not int": lambda scene: scene.cancel("run_a", xcoms={"start": 42}, xcom_task_ids="start"),
    "Jinja that was not": lambda scene: scene.cancel("{{ ids }}"),
    "another environment": lambda scene: scene.cancel("run_a", "run_b"),
    "key was rejected": wrong_key,
    "Not over within": never_over,
    "was killed": killed,
    "No XCom for a callback": on_airflow_3_0,
    "no task instance": lambda scene: scene.notify(xcom_task_ids="start"),
    "answered 403": lambda scene: scene.fail("fail_next", status=403),
    "answered 429": lambda scene: scene.fail("rate_limit_next", reset_after=1),
    "answered 500": lambda scene: scene.fail("fail_next", status=500),
    "answered 503": lambda scene: scene.fail("fail_next", status=503),
    "Connection refused": nobody_listens,
    "no answer within": no_answer,
    "cut short": lambda scene: scene.fail("cut_short_next"),
    "certificate": bad_certificate,
    "the proxy did not": no_proxy,
    "answered 302": lambda scene: scene.fail("redirect_next"),
    "but no JSON": lambda scene: scene.fail("garbage_next"),
    "still EXECUTING": still_alive,
    "unreadable after": unreadable,
    "its time was over": out_of_time,
    "not looked at afterwards": no_time_to_look,
}
OF_THE_TASK = rows("outcomes.md", "| the log says | what to do |")
OF_A_RUN = rows("outcomes.md", "| the log says | what it means | what to do |")


@pytest.mark.parametrize("shown", [row[0] for row in OF_THE_TASK + OF_A_RUN])
@pytest.mark.usefixtures("quick_looks", "connection")
def test_what_the_log_says(shown, server, tls_server, connect, cancel, make_context, said):
    (scenario,) = [scenario for words, scenario in SCENARIOS.items() if words in shown]
    connect(retry_for=0.3)
    scene = Scene(server, tls_server, connect, cancel, make_context, said)
    scenario(scene)
    assert matches(shown, said.text + scene.error)
