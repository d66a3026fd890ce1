from __future__ import annotations

import atexit
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

# Before anything imports Airflow, which reads these once and would else make a home of its own; and what a
# developer has set for another Airflow must not be used.
for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
    del os.environ[name]
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-provider-trigger-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"

from airflow_provider_trigger.testing import TriggerDevServer

# The first dag.test() of a process costs as much as thirty further ones: it makes Airflow's API server.
DAG_PROCESSES = 2


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests share a process under ``--dist loadgroup``; others run wherever there is time."""
    dags = itertools.cycle(f"dag.test() {number}" for number in range(DAG_PROCESSES))
    for item in items:
        if "dags_folder" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(next(dags)))
        elif "/e2e/" in item.nodeid:  # the web server that the browser opens is no part of the whole Airflow
            item.add_marker(pytest.mark.xdist_group("browser" if "/browser/" in item.nodeid else "e2e"))
        elif "/integration/" not in item.nodeid:  # so short that distributing each costs more
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


@pytest.fixture
def server() -> Iterator[TriggerDevServer]:
    """A local Trigger.dev server whose workers acknowledge a cancel almost at once."""
    with TriggerDevServer(acknowledge_after=0.05) as server:
        yield server


@pytest.fixture
def connection(server: TriggerDevServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The id of an Airflow connection to the server; failures are given up after 2 s."""
    monkeypatch.setenv(
        "AIRFLOW_CONN_TRIGGER_DEV_DEFAULT",
        json.dumps(
            {
                "conn_type": "trigger_dev",
                "host": server.url,
                "password": server.secret_key,
                "extra": {"timeout": 2, "retry_for": 2},
            }
        ),
    )
    return "trigger_dev_default"


@dataclass
class Certificate:
    """The files of a certificate that signs itself, for 127.0.0.1, and of its key."""

    file: str
    key: str


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a local Trigger.dev server")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return Certificate(file=str(folder / "cert.pem"), key=str(folder / "key.pem"))
