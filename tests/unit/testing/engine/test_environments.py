"""Which environment a key opens, and of which kind it is."""

from __future__ import annotations

import pytest

from airflow_provider_trigger.testing.engine.engine import Engine


def test_a_key_opens_its_environment_and_no_other() -> None:
    engine = Engine()
    prod, dev = engine.environment, engine.add_environment("dev", secret_key="tr_dev_x")
    assert prod.secret_key == engine.secret_key == "tr_prod_notARealSecretKey0"
    assert engine.environments.authenticate("Bearer tr_dev_x", None) is dev
    assert engine.environments.authenticate("tr_dev_x", "any") is dev
    assert engine.environments.authenticate("bearer tr_dev_x", None) is None
    assert "tr_dev_x" not in repr(dev)


def test_a_preview_key_needs_its_branch() -> None:
    engine = Engine()
    one = engine.add_environment("preview", branch="one")
    two = engine.add_environment("preview", branch="two")
    authorization = f"Bearer {one.secret_key}"
    opened = [
        engine.environments.authenticate(authorization, branch) for branch in ("one", "two", "three", None)
    ]
    assert opened == [one, two, None, None]


@pytest.mark.parametrize(
    ("name", "kind", "deployed"),
    [
        ("prod", "prod", True),
        ("dev", "dev", False),
        ("dev-of-ada", "dev", False),
        ("development", "dev", False),
        ("staging", "staging", True),
        ("stg", "staging", True),
        ("preview", "preview", True),
        ("something-else", "prod", True),
    ],
)
def test_the_kind_follows_from_the_name_unless_it_is_given(name: str, kind: str, deployed: bool) -> None:
    environment = Engine().add_environment(name)
    assert (environment.kind, environment.deployed) == (kind, deployed)
    assert Engine().add_environment(name, kind="dev").kind == "dev"
    assert Engine().add_environment(name, branch="feature").kind == "preview"
