"""A local Trigger.dev server: the model, its faults, and the thread that serves them."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp, Scope

from .app import App, RequestRecord
from .engine import settings
from .engine.engine import Engine
from .faults import FaultMethods, FaultQueue
from .routes.router import Router


@dataclass(kw_only=True, eq=False, repr=False)
class TriggerDevServer(FaultMethods, Engine):
    """
    A Trigger.dev server on this machine, for tests and demonstrations.

    It speaks real HTTP from a thread of its own and behaves as the real server does, as far as runs are
    triggered (also in batches), retrieved, listed, replayed, rescheduled and canceled, one by one or by their
    ids in bulk. Waitpoint tokens are in :attr:`tokens`, by id, and are completed with :meth:`complete_token`,
    or by a POST to their address. Queues are listed, paused and resumed, and the metadata and tags of runs
    changed. A path that it does not know is answered 404. What its tasks do is said with :meth:`on_task`. A
    run's page is at ``/runs/`` and its id. Use it as a context manager, or call :meth:`start` and
    :meth:`stop`. The faults are methods ending in ``_next``. Each takes ``times`` first, the number of
    requests that it applies to (``None`` for all until :meth:`clear_faults`), and the keyword arguments of
    :class:`RequestFilter`. A request meets the first fault that applies to it, in the order in which they
    were added; only a delay lets the next one apply too.

    :param secret_key: the key of its ``prod`` environment; by default one that is obviously not real
    :param host: the address to listen on
    :param port: the port, 0 for any free one
    :param rate_limit: requests that a key has in a burst, ``None`` for no limit
    :param refill: requests that come back at a time
    :param refill_interval: seconds between two refills
    :param acknowledge_after: seconds after which a worker acknowledges a cancel, ``None`` for never
    :param force_after: seconds after which a cancel is enforced when no worker acknowledged it
    :param list_lag: seconds that the list of runs lags behind, about 1 on the real server: it lacks younger
        runs, and finds others by the status that they had; by status it lags as far as the query, too
    :param busy_list_time: seconds that a page of the list of runs takes during 32 single cancels, 3.6 on the
        real server, and in proportion during fewer; those count that came within that time before it
    :param list_window: seconds that a list may look back; a wider one is answered 422, as by newer servers
    :param log_lag: seconds that the logs of runs lag behind, 0.5 to 2.5 on the real server
    :param query: whether it has the query, which older servers lack
    :param query_lag: seconds that the query lags behind, 1 to 4.6 on the real server
    :param query_database: whether the query's database is up; while it is down, the query answers 400, the
        list of runs and new bulk actions 500
    :param realtime: whether its realtime API is on
    :param object_store: whether it has one for large outputs and payloads, which not every server of one's
        own has: a run then shows neither such an output nor a URL, and such a payload is an error
    :param batch: whether it has batches, which older servers lack
    :param bulk_actions: whether it has bulk actions, which older servers lack
    :param bulk_lag: seconds from its creation in which bulk actions do not see a run, not even by its id; the
        real server's miss what was triggered a moment ago, here nothing is missed unless a test wants it
    :param bulk_duration: seconds until a bulk action processes its runs; ``None`` for never, as on a server
        whose bulk worker is off: bulk actions are accepted and stay ``PENDING``, with no run counted
    :param bulk_rate: runs that a bulk action then processes per second; ``None`` for all at once. Its counts
        are raised after each 100 runs, and at its end
    :param latency: seconds that every answer takes
    :param ssl_certfile: a certificate, to speak HTTPS
    :param ssl_keyfile: its private key
    :param speed: how many times as fast as usual everything happens on it: at 100, a task that executes for
        10 minutes takes 6 s, and a ``ttl`` of ``1h`` is over after 36 s. All dates are real, and ``latency``
        and faults take the time that they are given.
    :param clock: returns the time, in seconds since 1970, for runs, bulk actions and rate limits
    """

    latency: float = settings.LATENCY
    requests: list[RequestRecord] = field(default_factory=list, init=False)
    _faults: FaultQueue = field(default_factory=FaultQueue, init=False)
    _thread: HttpThread | None = field(default=None, init=False)

    def start(self) -> None:
        """Start serving. After a :meth:`stop` it serves on the same port again, with the runs that it had."""
        if self._thread is not None:
            raise RuntimeError("The server is already running")
        listener = listen(self.host, self.port)
        self.port = listener.getsockname()[1]
        thread = HttpThread(
            self._make_app, listener, ssl_certfile=self.ssl_certfile, ssl_keyfile=self.ssl_keyfile
        )
        thread.start()
        self._thread = thread

    def stop(self) -> None:
        """Stop serving; every connection is closed, also one that waits for its answer."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _make_app(self, thread: HttpThread) -> App:
        return App(
            routes=Router(self),
            respond=self._faults.respond,
            limiter=self._limiter,
            requests=self.requests,
            latency=lambda: self.latency,
            busy_list_time=lambda: self.busy_list_time,
            clock=self.clock,
            stopped=thread.stopped,
            disconnect=thread.disconnect,
        )


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Naming the protocol makes asyncio switch off Nagle's algorithm, which would add 40 ms to every answer.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


class HttpThread:
    """Serve an application from a thread of its own."""

    def __init__(
        self,
        make_app: Callable[[HttpThread], ASGIApp],
        listener: socket.socket,
        *,
        ssl_certfile: str | None,
        ssl_keyfile: str | None,
    ) -> None:
        self._listener = listener
        config = uvicorn.Config(
            make_app(self),
            # Named, since "auto" may mean HTTP/2 on newer versions.
            http="httptools" if importlib.util.find_spec("httptools") else "h11",
            ws="none",
            lifespan="off",
            # disconnect() finds the connection by its address, which must not come from a header.
            proxy_headers=False,
            server_header=False,
            access_log=False,
            log_config=None,
            log_level="critical",
            ssl_certfile=ssl_certfile,
            ssl_keyfile=ssl_keyfile,
        )
        # Here and not in the thread, so that an unusable certificate is the caller's error.
        config.load()
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._run, name="trigger-dev-server", daemon=True)

    def start(self) -> None:
        """Start serving; return when the first request can be answered."""
        self._thread.start()
        self._server.ready.wait()
        if not self._server.started:
            raise RuntimeError("The server's thread ended before it could serve")

    def stop(self) -> None:
        """Stop serving, close every connection, and wait for the thread's end."""
        self._server.request_stop()
        self._thread.join()

    async def stopped(self) -> None:
        """Wait until the server stops."""
        await self._server.stopping.wait()

    def disconnect(self, scope: Scope) -> None:
        """Close a request's connection, after what has been sent on it."""
        for connection in list(self._server.server_state.connections):
            peer = connection.transport.get_extra_info("peername")
            # An IPv6 address comes as four values.
            if peer is not None and tuple(peer[:2]) == tuple(scope["client"]):
                connection.transport.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._listener]))
        finally:
            self._server.ready.set()


class _Server(uvicorn.Server):
    """Uvicorn's server, except that it stops without waiting for open connections."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self.stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop

    def request_stop(self) -> None:
        self._loop.call_soon_threadsafe(self.stopping.set)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)
        self.ready.set()
        stopping = asyncio.ensure_future(self.stopping.wait())
        while not stopping.done():
            await asyncio.wait([stopping], timeout=1.0)
            await self.on_tick(0)  # renews the Date header

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
