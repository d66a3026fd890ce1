"""Which environment a key opens."""

from __future__ import annotations

from airflow_provider_trigger.testing.environments import Environments, is_public_token, token_of


def test_a_key_opens_its_environment_and_no_other() -> None:
    environments = Environments()
    prod, dev = environments.add("prod"), environments.add("dev", secret_key="tr_dev_x")
    assert prod.secret_key == "tr_prod_notARealSecretKey0"
    assert environments.authenticate("Bearer tr_dev_x", None) is dev
    assert environments.authenticate("tr_dev_x", "any") is dev
    assert environments.authenticate("bearer tr_dev_x", None) is None
    assert "tr_dev_x" not in repr(dev)


def test_a_preview_key_needs_its_branch() -> None:
    environments = Environments()
    one = environments.add("preview", branch="one")
    two = environments.add("preview", branch="two")
    authorization = f"Bearer {one.secret_key}"
    assert [environments.authenticate(authorization, branch) for branch in ("one", "two", "three", None)] == [
        one,
        two,
        None,
        None,
    ]


def test_tokens() -> None:
    assert token_of("Bearer abc") == token_of("abc") == "abc"
    assert is_public_token("eyJ.a.b")
    assert not is_public_token("tr_pat_x")
