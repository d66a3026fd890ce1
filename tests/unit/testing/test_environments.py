"""Which environment a key opens, of which kind it is, and the token bucket of each key."""

from __future__ import annotations

import pytest
from fake_clock import START, Clock

from airflow_provider_trigger.testing.engine.engine import Engine
from airflow_provider_trigger.testing.engine.environments import RateLimiter
from airflow_provider_trigger.testing.engine.server_time import ServerTime
from airflow_provider_trigger.testing.engine.settings import Settings


def test_a_key_opens_its_environment_and_no_other() -> None:
    engine = Engine()
    prod, dev = engine.environment, engine.add_environment("dev", secret_key="tr_dev_x")
    assert prod.secret_key == engine.secret_key == "tr_prod_notARealSecretKey0"
    assert engine.environments.authenticate("Bearer tr_dev_x", None) is dev
    assert engine.environments.authenticate("tr_dev_x", "any") is dev
    assert engine.environments.authenticate("bearer tr_dev_x", None) is None
    assert "tr_dev_x" not in repr(dev)


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


def limiter(clock: Clock, *, limit: int = 5, refill: int = 2, interval: float = 10) -> RateLimiter:
    return RateLimiter(
        Settings(rate_limit=limit, refill=refill, refill_interval=interval), time=ServerTime(clock=clock.time)
    )


def test_tokens_come_back_in_steps_not_in_a_drip(clock: Clock) -> None:
    bucket = limiter(clock)
    for _ in range(5):
        bucket.take("key")
    clock.now += 10
    assert [bucket.take("key").remaining for _ in range(3)] == [1, 0, -1]
    clock.now += 25
    after = bucket.take("key")
    assert after.remaining == 3
    assert after.reset == (START + 40) * 1000
