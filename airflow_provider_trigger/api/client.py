"""The blocking driver: sends the calls of :mod:`~airflow_provider_trigger.api.endpoints` with requests."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError

from airflow_provider_trigger import __version__
from airflow_provider_trigger.api import endpoints, retries
from airflow_provider_trigger.api.budget import Budget
from airflow_provider_trigger.api.endpoints import Call, Request, Response
from airflow_provider_trigger.api.errors import (
    NotSentError,
    TriggerDevError,
    UnexpectedAnswerError,
    is_foreign,
)
from airflow_provider_trigger.api.masking import Masking
from airflow_provider_trigger.api.models.runs import Run
from airflow_provider_trigger.api.rate_limit import RateLimit
from airflow_provider_trigger.api.transport_errors import CONNECT_TIMEOUT, transport_error

log = logging.getLogger(__name__)

T = TypeVar("T")

# A run shows payload, output (512 KB each at most, as documented) and metadata; this is far above.
MAX_BODY_BYTES = 16 * 1024 * 1024

# From how many seconds on a pause for the rate limit is told of.
_WORTH_TELLING = 2.0

# How long a sender goes without looking whether the work was stopped, in seconds.
_GLANCE = 0.2


class _Bearer(AuthBase):
    """Sends the key; as an ``auth`` object so that no ``.netrc`` entry takes its place."""

    def __init__(self, secret_key: str) -> None:
        self._header = f"Bearer {secret_key}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._header
        return request


class TriggerDevClient:
    """
    A client for one Trigger.dev environment, safe to share between threads.

    :param base_url: ``http(s)://host[:port][/prefix]``, without a trailing slash
    :param secret_key: picks project and environment; sent with each request and shown nowhere
    :param branch: the preview branch, beside a preview key
    :param timeout: for one request, in seconds
    :param retry_for: how long one call goes on trying after its first request went out, in seconds. Waiting
        for a turn under the rate limit is no try and is not cut short: many runs in a small bucket need it
    :param verify: whether to check the server's certificate, or the path of a CA file to check it against
    :param proxy: the URL of a proxy; None for what the environment says
    :param max_connections: how many connections are kept open
    :param user_agent: what to add to the User-Agent
    """

    def __init__(
        self,
        *,
        base_url: str,
        secret_key: str,
        branch: str | None = None,
        timeout: float = 30.0,
        retry_for: float = 120.0,
        verify: bool | str = True,
        proxy: str | None = None,
        max_connections: int = 32,
        user_agent: str = "",
    ) -> None:
        self.base_url = base_url
        self.timeout = timeout
        self.retry_for = retry_for
        # When the server last gave an answer that shows it works, on the monotonic clock.
        self.last_answer_at = -math.inf
        # What a call met last that is worth another try, in one line; empty once a call succeeds.
        self.trouble = ""
        self._masking = Masking(secret_key)
        self._rate_limit = RateLimit()
        self._told_of_pause_until = -math.inf
        self._turn = threading.Condition()
        self._session = self._new_session(max_connections)
        self._session.auth = _Bearer(secret_key)
        self._session.headers["User-Agent"] = f"airflow-provider-trigger/{__version__} {user_agent}".strip()
        if branch:
            self._session.headers["x-trigger-branch"] = branch
        # Asked once and not with each request; afterwards neither .netrc nor the environment has a say.
        self._settings: dict[str, Any] = {
            **self._session.merge_environment_settings(
                base_url, {"https": proxy, "http": proxy} if proxy else {}, True, verify, None
            )
        }
        self._session.trust_env = False

    @staticmethod
    def _new_session(max_connections: int) -> requests.Session:
        session = requests.Session()
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=max_connections, max_retries=0)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        session.headers["Accept"] = "application/json"
        session.headers["x-trigger-api-version"] = endpoints.API_VERSION
        return session

    def __enter__(self) -> TriggerDevClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TriggerDevClient {self.base_url}>"

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def cancel_run(self, run_id: str, *, budget: Budget | None = None) -> None:
        """
        Ask for a run to be canceled; see :func:`airflow_provider_trigger.api.endpoints.cancel_run`.

        :raises TriggerDevError: see :mod:`airflow_provider_trigger.api.errors`
        """
        self.call(endpoints.cancel_run(run_id), budget=budget)

    def retrieve_run(self, run_id: str, *, budget: Budget | None = None) -> Run:
        """
        Look at a run; see :func:`airflow_provider_trigger.api.endpoints.retrieve_run`.

        :raises TriggerDevError: see :mod:`airflow_provider_trigger.api.errors`
        """
        return self.call(endpoints.retrieve_run(run_id), budget=budget)

    def call(self, call: Call[T], *, budget: Budget | None = None) -> T:
        """
        Make one call, again where that is safe and worth it.

        :param call: from :mod:`airflow_provider_trigger.api.endpoints`
        :param budget: the time of the work that this call is part of
        :raises TriggerDevError: the last error, when the call is given up
        """
        budget = budget or Budget()
        until = math.inf
        last_error: TriggerDevError | None = None

        def attempt() -> T:
            nonlocal until, last_error
            self._wait_for_turn(budget)
            until = min(until, time.monotonic() + self.retry_for)
            try:
                return self._exchange(call, budget)
            except TriggerDevError as error:
                self._masking.in_error(error)
                if error.retryable:
                    self.trouble = str(error)
                last_error = error
                raise

        def retry_for() -> float:
            return min(until - time.monotonic(), budget.remaining())

        try:
            return retries.policy(request=call.request, retry_for=retry_for, sleep=budget.sleep)(attempt)
        except NotSentError as error:
            # A call that went out before must not be told as one that never did.
            raise last_error or error from None

    def _wait_for_turn(self, budget: Budget) -> None:
        with self._turn:
            while True:
                budget.check()
                delay = self._rate_limit.delay(monotonic=time.monotonic())
                if not delay:
                    self._rate_limit.sent()
                    return
                self._tell_of_pause(delay)
                self._turn.wait(min(delay, _GLANCE))

    def _tell_of_pause(self, delay: float) -> None:
        """Tell once for all senders."""
        ends_at = time.monotonic() + delay
        if _WORTH_TELLING <= delay < math.inf and ends_at > self._told_of_pause_until + _WORTH_TELLING:
            log.info("Waiting %.0f s for the rate limit", delay)
            self._told_of_pause_until = ends_at

    def _exchange(self, call: Call[T], budget: Budget) -> T:
        response = None
        try:
            response = self._send(call.request, budget)
        finally:
            with self._turn:
                self._rate_limit.answered(response, monotonic=time.monotonic(), now=time.time())
                self._turn.notify_all()
        try:
            result = call.read(response)
        except TriggerDevError as error:
            error.response = response
            if not is_foreign(error) and response.status < 500 and response.status not in (408, 429):
                self.last_answer_at = time.monotonic()
            raise
        if response.body.lstrip().startswith(b"{"):  # a cancel believes a page, too, if it says 200
            self.last_answer_at = time.monotonic()
        self.trouble = ""
        return result

    def _send(self, request: Request, budget: Budget) -> Response:
        timeout = min(self.timeout, max(budget.remaining(), 0.01))
        until = time.monotonic() + timeout
        try:
            prepared = self._session.prepare_request(
                requests.Request(
                    request.method,
                    self.base_url + request.path,
                    params=dict(request.params),
                    json=request.json,
                )
            )
            # Redirects would carry the key elsewhere, or turn a POST into a GET: an adapter knows of none,
            # while a session reads and resolves them even when it is told not to follow.
            adapter = self._session.get_adapter(str(prepared.url))
            with adapter.send(
                prepared, timeout=(min(CONNECT_TIMEOUT, timeout), timeout), **self._settings
            ) as answer:
                return Response(
                    status=answer.status_code,
                    headers={
                        name.lower(): self._masking.in_header(value) for name, value in answer.headers.items()
                    },
                    body=self._masking.in_body(_read_body(answer, request, until=until)),
                )
        except (OSError, HTTPError) as error:  # requests lets some of urllib3's through
            where = f"{request.method} {request.path[:200]} to {urlsplit(self.base_url).netloc}"
            raise transport_error(error, where, timeout) from None


def _read_body(answer: requests.Response, request: Request, *, until: float) -> bytes:
    # Piece by piece as they arrive, so that a server that trickles is noticed; urllib3 1 cannot do it.
    read = getattr(answer.raw, "read1", answer.raw.read)
    body = bytearray()
    while piece := read(65536, decode_content=True):
        if body and time.monotonic() > until:
            raise requests.exceptions.ReadTimeout
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise UnexpectedAnswerError(
                f"{request.method} {request.path[:200]} answered more than "
                f"{MAX_BODY_BYTES // 1024 // 1024} MB",
                retryable=False,
            )
    return bytes(body)
