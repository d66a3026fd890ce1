"""The errors that users catch: what they are, and that Airflow can hand them on."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from importlib import import_module
from typing import Any

import pytest

from airflow_provider_trigger import exceptions
from airflow_provider_trigger._compat import AirflowException, AirflowFailException
from airflow_provider_trigger.api.errors import (
    AuthenticationError,
    InvalidIdError,
    NotSentError,
    OversizeError,
    ServerError,
    TransportError,
    TriggerDevError,
)

RUN = {"run_id": "run_1", "run_url": "https://x/runs/run_1", "status": "CRASHED", "task_identifier": "resize"}
RUN |= {"error_name": "E", "error_code": "C", "error_message": "m"}
RESULTS = [{"run_id": "run_1", "status": "FAILED", "error": "boom"}]
OF_RUN: dict[str, Any] = RUN | {"attempts": 2}
OF_LIMIT: dict[str, Any] = OF_RUN | {"limit": "timeout"}
OF_BATCH: dict[str, Any] = {"results": RESULTS}

KINDS: list[tuple[Any, Any, dict[str, Any], bool]] = [
    (exceptions.TriggerRunFailedError, AirflowException, OF_RUN, True),
    (exceptions.TriggerRunNotRetriedError, exceptions.TriggerRunFailedError, OF_RUN, False),
    (exceptions.TriggerRunTimeoutError, exceptions.TriggerRunFailedError, OF_LIMIT, True),
    (exceptions.TriggerRunTimeoutNotRetriedError, exceptions.TriggerRunTimeoutError, OF_LIMIT, False),
    (exceptions.TriggerBatchFailedError, AirflowException, OF_BATCH, True),
    (exceptions.TriggerBatchNotRetriedError, exceptions.TriggerBatchFailedError, OF_BATCH, False),
    (exceptions.TriggerRunNotStartedError, AirflowException, {}, True),
]


@pytest.mark.parametrize(("kind", "parent", "attributes", "is_retried"), KINDS)
def test_an_error_can_be_made_of_its_text_and_keeps_its_attributes_where_it_can(
    kind: Any, parent: Any, attributes: dict[str, Any], is_retried: bool
) -> None:
    assert issubclass(kind, parent)
    assert issubclass(kind, AirflowFailException) is not is_retried
    error = kind("boom", **attributes)
    for same in (error, pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(same), str(same), vars(same)) == (kind, "boom", attributes)
    path, args, kwargs = error.serialize()
    assert path == f"airflow_provider_trigger.exceptions.{kind.__name__}"
    made = kind(*args, **kwargs)
    assert (str(made), vars(made)) == ("boom", dict.fromkeys(attributes))


ABOUT: dict[str, Any] = {"method": "GET", "path": "/x", "status": 503}
ABOUT |= {"detail": "d", "request_id": "r", "retryable": True}
OF_API: list[TriggerDevError] = [
    ServerError(**ABOUT),
    AuthenticationError(**ABOUT | {"status": 401}),
    OversizeError("GET /x", limit=16 * 1024 * 1024, size=None),
    NotSentError("no", last_error=TransportError("refused")),
    TransportError("lost", was_sent=False),
    InvalidIdError("no id"),
]


@pytest.mark.parametrize("error", OF_API)
def test_an_error_of_the_api_can_be_pickled_and_copied(error: TriggerDevError) -> None:
    error.reword(f"Connection 'mine': {error}")
    for same in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (type(same), str(same), same.args) == (type(error), str(error), error.args)
        assert str(vars(same)) == str(vars(error))


def test_a_dag_file_can_import_them_at_no_cost(parse, heavy) -> None:
    imported = parse("from airflow_provider_trigger.exceptions import TriggerRunFailedError")
    assert not heavy & set(imported)


def errors_of(module: Any) -> list[Any]:
    classes = [one for one in vars(module).values() if getattr(one, "__module__", "") == module.__name__]
    return [one for one in classes if isinstance(one, type) and issubclass(one, Exception)]


@pytest.mark.parametrize("module", ["api.errors", "run.output"])  # what docs/versioning.md promises
def test_an_error_has_each_attribute_that_is_documented(module: str) -> None:
    for kind in errors_of(import_module(f"airflow_provider_trigger.{module}")):
        required = [one for one in inspect.signature(kind).parameters.values() if one.default is one.empty]
        given = {one.name: 1 for one in required if one.kind is one.KEYWORD_ONLY}
        error = kind(*["x" for one in required if one.kind is one.POSITIONAL_OR_KEYWORD], **given)
        documented = re.findall(r":param (\w+):", kind.__doc__ or "")
        assert [name for name in documented if not hasattr(error, name)] == []
