"""Uvicorn in a thread: starts at once, stops at once, and can close a client's connection."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import threading
from collections.abc import Callable

import uvicorn
from starlette.types import ASGIApp, Scope


def listen(host: str, port: int) -> socket.socket:
    """
    Return a listening socket.

    :param host: the address
    :param port: the port, 0 for any free one
    :raises OSError: if the address cannot be used
    """
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
    """
    Serve an application from a thread of its own.

    :param make_app: makes the application; called with this object, which can close connections
    :param listener: a listening socket; it is closed at the end
    :param ssl_certfile: a certificate, to speak HTTPS
    :param ssl_keyfile: its private key
    """

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
