"""The hook's methods on waitpoint tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger.api.limits import NEVER, Deadline
from airflow_provider_trigger.rules import naming
from airflow_provider_trigger.sources.run_ids import TOKEN_IDS, exactly_one
from airflow_provider_trigger.tokens.create import check_data, token_options

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.tokens import CreatedToken, WaitpointToken
    from airflow_provider_trigger.durations import Duration
    from airflow_provider_trigger.hooks.connection import Settings
    from airflow_provider_trigger.tokens.complete import Completion, CompletionResult


class HasWaitpointTokens:
    """Create, check and complete waitpoint tokens."""

    if TYPE_CHECKING:

        @property
        def settings(self) -> Settings: ...  # noqa: D102

        def client(self) -> AbstractContextManager[TriggerDevClient]: ...  # noqa: D102

    def create_waitpoint_token(
        self,
        *,
        timeout: Duration | None = None,
        tags: str | Sequence[str] | None = None,
        idempotency_key: str | None = None,
    ) -> CreatedToken:
        """
        Create a waitpoint token: its ``id``, and its ``url``, by which anybody can complete it without a key.

        :param timeout: how long it can be completed: seconds, a timedelta, or a text such as ``"5m"``, 1 s or
            more, rounded up to seconds; None for no limit
        :param tags: up to 10, of up to 128 characters, without a comma
        :param idempotency_key: the token that was created with it before is returned, whatever became of it
            since; None for none
        :raises ValueError: an argument is invalid; nothing is sent
        :raises TriggerDevError: it could not be created; the error says whether it may exist
        """
        from airflow_provider_trigger.tokens.create import send_token

        given = {"timeout": timeout, "tags": tags, "idempotency_key": idempotency_key}
        with naming("create_waitpoint_token"):
            options = token_options(given)
        with self.client() as client:
            return send_token(client, options)

    def get_waitpoint_token(self, token_id: str) -> WaitpointToken:
        """
        Check a waitpoint token: its ``status`` (WAITING, COMPLETED or TIMED_OUT) and its ``output``.

        :param token_id: the token id
        :raises ValueError: not an id; nothing is sent
        :raises TriggerDevError: the check failed; an ``UnknownTokenError``, which takes some seconds, if the
            key's environment has no such token; an ``UnreadableAnswerError`` if its output is of a type that
            is not known
        """
        from airflow_provider_trigger.api.errors import UnreadableAnswerError
        from airflow_provider_trigger.api.tokens import retrieve_token

        with self.client() as client:
            token = client.call(retrieve_token(token_id))
            if token.output_error:
                raise UnreadableAnswerError(f"waitpoint token {token_id}: {token.output_error}")
            return token

    def complete_waitpoint_token(self, token_id: Any, data: Any = None) -> CompletionResult:
        """
        Complete a waitpoint token, so that what waits for it continues, and return what became of it.

        Its ``outcome`` is ``completed``, ``already_completed``, ``timed_out``, ``not_found``, ``accepted`` or
        ``failed``; for none of them anything is raised, and for the last two its ``error`` says why.

        :param token_id: a token id, ``{"id", "url"}``, or the token's address
        :param data: any JSON, up to 512 KB, with integers up to 2^53
        :raises ValueError: the data are invalid, or it is not one token id; nothing is sent
        :raises AuthenticationError: the server rejected the secret key
        """
        found = exactly_one(token_id, TOKEN_IDS)
        with naming("complete_waitpoint_token"):
            check_data("data", data)
        with self.completion(data) as work:
            [result] = work.run([found])
            if work.rejection is not None and result.outcome == "failed":
                raise work.rejection
        return result

    @contextmanager
    def completion(
        self, data: Any, *, deadline: Deadline = NEVER, is_stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[Completion]:
        """Give a completion with checked data on a client of its own; ``deadline`` is of the whole work."""
        from airflow_provider_trigger.hooks.diagnosis import action_for
        from airflow_provider_trigger.tokens.complete import Completion

        action = partial(action_for, settings=self.settings)
        with self.client() as client:
            yield Completion(client, data, deadline=deadline, action_for=action, is_stopped=is_stopped)
