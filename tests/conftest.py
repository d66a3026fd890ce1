from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

# Airflow's modules are very many objects: to look for garbage as often as usual takes an eighth of the time.
USUAL_THRESHOLD = gc.get_threshold()
gc.set_threshold(400_000)

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
DAG_PROCESSES = min(3, os.cpu_count() or 2)
# By their fixtures; and the blocks of Python in the documentation.
TEST_WITH_DAGS = re.compile(r"^def (test_\w+)\([^)]*\brun_(?:dag|tasks|example)\b", re.MULTILINE)
BLOCK_WITH_DAGS = re.compile(r"::test_block\[.*-python\]$")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute the tests under ``--dist loadscope`` as ``group_of`` says, in their order."""
    if config.getvalue("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class GroupScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """
    Let several processes begin with Dags, and mix tests that wait with those that compute.

    Towards the end all compute: else processors would wait for the last tests.
    """
    if not hasattr(config, "workerinput"):
        return
    groups = dict.fromkeys(group_of(item.nodeid) for item in items)
    waiting = [group for group in groups if "::" in group]
    computing = [group for group in groups if "::" not in group and "/" in group]
    place = {group: 0.7 * number / len(waiting) for number, group in enumerate(waiting)}
    place |= {group: number / len(computing) for number, group in enumerate(computing)}
    items.sort(key=lambda item: place.get(group_of(item.nodeid), -1))


def pytest_collection_finish() -> None:
    """
    Look for garbage only among what tests make: as a process ends, pytest looks ten times.

    And as often as usual: each request of dag.test() leaves garbage that makes the next ones dearer.
    """
    gc.freeze()
    gc.set_threshold(*USUAL_THRESHOLD)


def group_of(nodeid: str) -> str:
    """Say which tests share a process: all with the same text."""
    if "/e2e/" in nodeid:  # the web server that the browser opens is no part of the whole Airflow
        return "browser" if "/browser/" in nodeid else "e2e"
    if "/integration/" not in nodeid:  # so short that distributing each costs more
        return nodeid.partition("::")[0]
    has_dags = BLOCK_WITH_DAGS.search(nodeid) or nodeid.partition("[")[0] in tests_with_dags()
    return f"dags {crc32(nodeid.encode()) % DAG_PROCESSES}" if has_dags else nodeid


@functools.cache
def tests_with_dags() -> set[str]:
    """Return the ids of the integration tests that run Dags, without their parameters."""
    folder = Path(__file__).parent
    return {
        f"{file.relative_to(folder.parent)}::{name}"
        for file in (folder / "integration").glob("test_*.py")
        for name in TEST_WITH_DAGS.findall(file.read_text())
    }


@pytest.fixture
def server() -> Iterator[TriggerDevServer]:
    """A local Trigger.dev server whose workers acknowledge a cancel almost at once."""
    with TriggerDevServer(acknowledge_after=0.05) as server:
        yield server


@pytest.fixture
def connection_to(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Make an Airflow connection to a server, with extra fields; return its id."""

    def connect(server: TriggerDevServer, conn_id: str, **extra: Any) -> str:
        fields = {"conn_type": "trigger_dev", "host": server.url, "password": server.secret_key}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({**fields, "extra": extra}))
        return conn_id

    return connect


@pytest.fixture
def connection(server: TriggerDevServer, connection_to: Callable[..., str]) -> str:
    """The id of an Airflow connection to the server; failures are repeated for 2 s."""
    return connection_to(server, "trigger_dev_default", timeout=10, retry_for=2)


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
