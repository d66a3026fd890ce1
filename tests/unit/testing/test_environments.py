"""Of which kind an environment is."""

from __future__ import annotations

import pytest

from airflow_provider_trigger.testing.engine.engine import Engine


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
