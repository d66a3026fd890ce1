from __future__ import annotations

import threading

import pytest

from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.masking import SecretKey

OLD, NEW = "tr_prod_old/key+of=the_test", "tr_prod_new/key+of=the_test"
RUN = {"id": "run_1", "status": "QUEUED"}


class Source:
    """What fetches the key."""

    def __init__(self, *keys: str | None) -> None:
        self.keys = list(keys)
        self.fetched = 0

    def __call__(self) -> str | None:
        self.fetched += 1
        return self.keys.pop(0) if len(self.keys) > 1 else self.keys[0]


def test_another_key_is_used_from_then_on_and_both_are_masked() -> None:
    key = SecretKey(OLD)
    key.replace(OLD)
    assert key.version == 0
    assert OLD not in repr(key)
    key.replace(NEW)
    assert (key.authorization, key.version) == (f"Bearer {NEW}", 1)
    body = f"<{OLD}> <{NEW}>".encode()
    assert key.masking.in_response(Response(status=401, headers={}, body=body)).body == b"<***> <***>"


def test_without_a_fetch_it_waits_for_no_other_thread() -> None:
    begun, ended = threading.Event(), threading.Event()

    def fetch() -> str:
        begun.set()
        assert ended.wait(10)
        return NEW

    key = SecretKey(OLD, fetch=fetch)
    thread = threading.Thread(target=key.renew, args=(0,), kwargs={"may_fetch": True})
    thread.start()
    assert begun.wait(10)
    assert not key.renew(0, may_fetch=False)  # as a signal handler of the thread that fetches it
    ended.set()
    thread.join()
    assert key.renew(0, may_fetch=False)


# A client with it


@pytest.fixture
def rotated(connect, answer, clock):
    """Build a client of a server that takes the new key only."""

    def script(request):
        is_known = request.headers["Authorization"] == f"Bearer {NEW}"
        return answer(200, RUN) if is_known else answer(401, {"error": f"Invalid: {OLD} {NEW}"})

    def build(key: SecretKey, **settings):
        client, wire = connect(script, key=key, **settings)
        return client, wire

    return build


def test_after_a_confirmed_401_the_call_is_repeated_with_the_new_key(rotated) -> None:
    source = Source(NEW)
    client, wire = rotated(SecretKey(OLD, fetch=source))
    client.call(cancel_run("run_1"), patience=0)
    assert [sent.headers["Authorization"][7:] for sent in wire.sent] == [OLD, OLD, NEW]
    assert not client.exchange.key_is_rejected
    client.call(retrieve_run("run_1"))
    assert (len(wire.sent), source.fetched) == (4, 1)


@pytest.mark.parametrize(("fetched", "sent"), [(OLD, [2, 1]), (None, [2, 1]), ("tr_another_key", [4, 1])])
def test_a_key_that_is_rejected_as_well_is_fetched_once_for_each_call_which_fails(
    rotated, key_in, fetched: str | None, sent: list[int]
) -> None:
    source = Source(fetched)
    client, wire = rotated(SecretKey(OLD, fetch=source))
    for requests in sent:
        wire.sent.clear()
        with pytest.raises(AuthenticationError) as raised:
            client.call(retrieve_run("run_1"))
        assert raised.value.__context__ is None
        assert [key_in(raised.value, key) for key in (OLD, fetched or OLD)] == [[], []]
        assert len(wire.sent) == requests
    assert source.fetched == 2


def test_clients_that_share_it_continue_with_the_key_that_one_has_fetched(rotated) -> None:
    source = Source(NEW)
    key = SecretKey(OLD, fetch=source)
    (one, _), (other, wire) = rotated(key), rotated(key)
    one.call(retrieve_run("run_1"))
    other.may_fetch_key = False
    other.call(retrieve_run("run_1"))
    assert (len(wire.sent), source.fetched) == (1, 1)


def test_a_client_that_may_not_fetch_it_raises_the_error(rotated) -> None:
    source = Source(NEW)
    client, _ = rotated(SecretKey(OLD, fetch=source))
    client.may_fetch_key = False
    with pytest.raises(AuthenticationError):
        client.call(retrieve_run("run_1"))
    assert source.fetched == 0
