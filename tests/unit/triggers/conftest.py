"""What the tests of triggers share."""

from __future__ import annotations

import pytest

from airflow_provider_trigger.triggers.run import TriggerDevRunTrigger


@pytest.fixture
def log(keep_log):
    """The log of triggers."""
    return keep_log(TriggerDevRunTrigger)
