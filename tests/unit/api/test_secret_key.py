from __future__ import annotations

import threading

import pytest

from airflow_provider_trigger.api.endpoints.runs import cancel_run, retrieve_run
from airflow_provider_trigger.api.errors import AuthenticationError
from airflow_provider_trigger.api.http import Response
from airflow_provider_trigger.api.secret_key import SecretKey

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
    key.replace(NEW)
    assert (key.authorization, key.version) == (f"Bearer {NEW}", 1)
    body = f"<{OLD}> <{NEW}>".encode()
    assert key.masking.in_response(Response(status=401, headers={}, body=body)).body == b"<***> <***>"


def test_the_same_key_changes_nothing() -> None:
    key = SecretKey(OLD)
    key.replace(OLD)
    assert key.version == 0


def test_it_shows_the_key_in_no_repr() -> None:
    assert OLD not in repr(SecretKey(OLD))


@pytest.mark.parametrize(("fetched", "is_other"), [(NEW, True), (OLD, False), (None, False)])
def test_a_rejected_key_is_fetched_again(fetched: str | None, is_other: bool) -> None:
    source = Source(fetched)
    key = SecretKey(OLD, fetch=source)
    assert key.renew(0, may_fetch=True) is is_other
    assert source.fetched == 1


def test_a_key_that_is_known_already_is_not_fetched() -> None:
    source = Source(NEW)
    key = SecretKey(OLD, fetch=source)
    key.replace(NEW)
    assert key.renew(0, may_fetch=True)
    assert key.renew(0, may_fetch=False)
    assert source.fetched == 0


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


def test_a_key_that_stays_rejected_is_fetched_once_for_each_call(rotated, key_in) -> None:
    source = Source(OLD)
    client, wire = rotated(SecretKey(OLD, fetch=source))
    for _ in range(2):
        with pytest.raises(AuthenticationError) as raised:
            client.call(retrieve_run("run_1"))
        assert raised.value.__context__ is None
        assert key_in(raised.value, OLD) == []
    assert (len(wire.sent), source.fetched) == (3, 2)


def test_another_key_that_is_rejected_as_well_is_the_error(rotated, key_in) -> None:
    other = "tr_prod_another_key"
    client, wire = rotated(SecretKey(OLD, fetch=Source(other)))
    with pytest.raises(AuthenticationError) as raised:
        client.call(retrieve_run("run_1"))
    assert raised.value.__context__ is None
    assert [key_in(raised.value, key) for key in (OLD, other)] == [[], []]
    assert len(wire.sent) == 4


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
