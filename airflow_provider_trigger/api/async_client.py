"""The driver for an event loop: sends calls with httpx."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Coroutine
from contextlib import closing, suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, TypeVar

import httpx

from airflow_provider_trigger import defaults
from airflow_provider_trigger.api.body import Body
from airflow_provider_trigger.api.deadline import NEVER, Deadline
from airflow_provider_trigger.api.environment import connection_options, proxy_for
from airflow_provider_trigger.api.errors import TriggerDevError
from airflow_provider_trigger.api.exchange import Exchange, Reply, Send
from airflow_provider_trigger.api.http import Call, Request, Response, api_headers, common_headers
from airflow_provider_trigger.api.masking import Masking
from airflow_provider_trigger.api.rate_limit import RateLimit
from airflow_provider_trigger.api.settings import ServerSettings
from airflow_provider_trigger.api.transport_errors import CONNECT_TIMEOUT, ErrorClasses, transport_error
from airflow_provider_trigger.api.wire_log import without_secrets

T = TypeVar("T")

KEEP_ALIVE = 60.0
"""How long an unused connection is kept open, in seconds: longer than between two checks of a run."""

ERRORS = ErrorClasses(
    own=(httpx.HTTPError, TimeoutError, ssl.SSLError),
    tls=(ssl.SSLError,),
    tls_is_cause=True,
    invalid_url=(httpx.InvalidURL, httpx.UnsupportedProtocol),
    proxy=(httpx.ProxyError,),
    connect_timeout=(httpx.ConnectTimeout,),
    no_connection=(httpx.ConnectError,),
    timeout=(httpx.TimeoutException, TimeoutError),  # the second is asyncio's
    lost=(httpx.RemoteProtocolError,),
)
"""How httpx says what went wrong."""

# Of the time for a request, so that a late connection is distinguished from a late answer.
_SHARE_FOR_CONNECTION = 0.9
# How long a request that is canceled may take to end, in seconds; as a rule it ends at once.
_CANCEL_TIME = 1.0
# A proxy that cannot be reached is like any other server; a handshake that failed is found before.
_ERRORS_THROUGH_PROXY = replace(ERRORS, proxy=(httpx.ProxyError, httpx.ConnectError))


class AsyncTriggerDevClient:
    """
    The client of :class:`.client.TriggerDevClient` for the tasks of one event loop.

    The settings' ``timeout`` is from a request's first byte to the last of the answer.
    """

    def __init__(
        self,
        settings: ServerSettings,
        *,
        max_connections: int = defaults.MAX_CONCURRENCY,
        rate_limit: RateLimit | None = None,
    ) -> None:
        self.settings = settings
        self._masking = Masking(settings.secret_key)
        self.exchange = Exchange(
            masking=self._masking,
            rate_limit=rate_limit or RateLimit(),
            timeout=settings.timeout,
            retry_for=settings.retry_for,
        )
        self._headers_elsewhere = httpx.Headers(common_headers(settings))
        key = {"Authorization": f"Bearer {settings.secret_key}"}
        self._headers = httpx.Headers(api_headers(settings) | key)  # their repr hides the key
        self._limits = httpx.Limits(max_keepalive_connections=max_connections, keepalive_expiry=KEEP_ALIVE)
        # Read once and not with each request.
        self._options = connection_options(settings.base_url, settings)
        self._proxy = proxy_for(settings.base_url, self._options)
        self._transport: httpx.AsyncHTTPTransport | None = None

    async def __aenter__(self) -> AsyncTriggerDevClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncTriggerDevClient {self.settings.base_url}>"

    async def close(self) -> None:
        """Close the connections."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def call(self, call: Call[T], *, deadline: Deadline = NEVER, patience: float | None = None) -> T:
        """Make one call, as :meth:`.client.TriggerDevClient.call` does."""
        reply: Reply = None
        steps = self.exchange.steps(call, deadline=deadline, patience=patience)
        with closing(steps):  # also when the task is canceled: the request is in flight no more
            while True:
                try:
                    step = steps.send(reply)
                except StopIteration as end:
                    result: T = end.value
                    return result
                finally:
                    reply = None  # the key is not masked in it, and an error's traceback leads to this frame
                if isinstance(step, Send):
                    reply = await self.send(step)
                else:
                    await asyncio.sleep(step.seconds)

    async def send(self, step: Send) -> Reply:
        """Send one request, once; return the response, or the error that came instead."""
        url, proxy = step.request.url, self._proxy
        if url is not None:
            proxy = proxy_for(url, connection_options(url, self.settings))
        try:
            with without_secrets(step.request, self._masking):  # the task within has a copy of the context
                return await _within(step.timeout, self._send(step, proxy))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            where = step.request.target(self.settings.base_url)
            known = _ERRORS_THROUGH_PROXY if proxy else ERRORS
            failure: TriggerDevError = transport_error(error, where, step.timeout, known)
        except TriggerDevError as error:  # of the body
            failure = error.with_traceback(None)
        except asyncio.CancelledError as canceled:
            # Its frames in httpx have the key.
            canceled.__context__ = None
            raise canceled.with_traceback(None) from None
        # Raised elsewhere: within the blocks above, the request and so the key would be its context.
        return failure

    async def _send(self, step: Send, proxy: str | None) -> Response:
        request, where = step.request, step.request.target(self.settings.base_url)
        connecting = min(CONNECT_TIMEOUT, step.timeout * _SHARE_FOR_CONNECTION)
        timeout = httpx.Timeout(step.timeout, connect=connecting, pool=None)
        prepared = httpx.Request(
            request.method,
            request.address(self.settings.base_url),
            headers=self._headers if request.url is None else self._headers_elsewhere,
            content=request.body(),
            extensions={"timeout": timeout.as_dict()},
        )
        prepared.headers.update(request.body_headers())
        if request.url is not None:
            async with self._new_transport(proxy) as transport:
                return await _answer(transport, prepared, request, where)
        if self._transport is None:
            self._transport = self._new_transport(proxy)
        return await _answer(self._transport, prepared, request, where)

    def _new_transport(self, proxy: str | None) -> httpx.AsyncHTTPTransport:
        # A client around it would keep cookies, read .netrc, and log each URL with its query.
        tls = self._tls
        with suppress(ValueError, ImportError):
            is_https = bool(proxy) and str(proxy).lower().startswith("https:")
            parsed = httpx.Proxy(proxy, ssl_context=tls if is_https else None) if proxy else None
            return httpx.AsyncHTTPTransport(verify=tls, limits=self._limits, proxy=parsed)
        raise httpx.UnsupportedProtocol("an unknown scheme, or one whose package is missing")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        verify = self._options["verify"]
        if not isinstance(verify, str):
            return httpx.create_ssl_context(verify=verify, trust_env=False)
        if not os.path.exists(verify):
            raise OSError(f"Could not find a suitable TLS CA certificate bundle, invalid path: {verify}")
        if os.path.isdir(verify):
            return ssl.create_default_context(capath=verify)
        return ssl.create_default_context(cafile=verify)


async def _within(seconds: float, answer: Coroutine[Any, Any, Response]) -> Response:
    """
    Wait for an answer, or raise a TimeoutError in time.

    A request that is canceled may never end: in older versions of anyio (measured with 4.12), when the waiter
    of a lock is canceled just before its release, the next one never gets it. It is not waited for then.
    """
    task = asyncio.ensure_future(answer)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # or asyncio logs it
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_TIME)
    if not task.done() or task.cancelled():
        raise TimeoutError
    return task.result()


async def _answer(
    transport: httpx.AsyncHTTPTransport, prepared: httpx.Request, request: Request, where: str
) -> Response:
    answer = await transport.handle_async_request(prepared)
    answer.headers.encoding = "latin-1"  # as the blocking driver reads them
    headers = dict(answer.headers.items())
    try:
        body = Body(request, where, headers)
        async for piece in answer.aiter_raw():
            body.add(piece)
    finally:
        await answer.aclose()
    return Response(status=answer.status_code, headers=headers, body=body.content())
