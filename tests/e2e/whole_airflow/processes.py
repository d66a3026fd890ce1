"""Processes that are started with their output in a file, and ended by their own ids."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def free_port() -> int:
    """Return a TCP port on the loopback address that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(
    probe: Callable[[], T | None], *, timeout: float, what: str | Callable[[], str], interval: float = 0.25
) -> T:
    """
    Call ``probe`` until it returns something true, and return that.

    :param timeout: seconds until an AssertionError says what was waited for
    :param what: what was waited for, or a function that describes the state in which it was given up
    :param interval: seconds between two calls
    """
    deadline = time.monotonic() + timeout
    while True:
        if found := probe():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s for {what() if callable(what) else what}")
        time.sleep(interval)


class Process:
    """
    One process of its own group and session.

    :param log: the file that gets its output; a restart appends to it
    :param directory: where it runs, and leaves what it likes; by default where we are
    :param user: the name of the user it runs as, when that is not ours
    :param stop_signal: what asks it to end
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        directory: Path | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.environment = dict(environment)
        self.log = log
        self.directory = directory
        self.user = user
        self.stop_signal = stop_signal
        self.sessions: set[int] = set()  # one for each start
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._popen is not None, f"{self.name} was not started"
        return self._popen.pid

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as output:
            as_user: dict[str, Any] = {"user": self.user, "group": self.user, "extra_groups": []}
            self._popen = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **(as_user if self.user else {}),
            )
        self.sessions.add(self._popen.pid)

    def exit_code(self) -> int | None:
        """Return what it exited with, or None while it runs."""
        return self._popen.poll() if self._popen else None

    def kill(self) -> None:
        """End this one process at once, without a chance to clean up; its children stay."""
        assert self._popen is not None
        self._popen.kill()
        self._popen.wait()

    def ask_to_stop(self) -> None:
        """Ask it to end, without waiting."""
        if self._popen is not None and self._popen.poll() is None:
            self._popen.send_signal(self.stop_signal)

    def stop(self, timeout: float = 10) -> None:
        """Ask it to end; after ``timeout`` seconds end its whole group."""
        if self._popen is None:
            return
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def check(self) -> None:
        """Fail with the end of its output when it has ended by itself."""
        if (code := self.exit_code()) is not None:
            raise AssertionError(f"{self.name} ended with {code}:\n{self.output()[-4000:]}")

    def output(self) -> str:
        """Return all it has written."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def run(name: str, command: Sequence[str], *, environment: Mapping[str, str], log: Path) -> None:
    """Run a command to its end; fail with its output when it fails."""
    process = Process(name, command, environment=environment, log=log)
    process.start()
    try:
        wait_until(
            lambda: process.exit_code() is not None,
            timeout=300,
            what=lambda: f"the end of {name}:\n{process.output()[-4000:]}",
        )
        code = process.exit_code()
        assert code == 0, f"{name} failed with {code}:\n{process.output()[-4000:]}"
    finally:
        process.stop()


def processes_of(sessions: Collection[int]) -> list[int]:
    """Return the ids of the processes of these sessions; a child stays in the one it was born in."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # "pid (name) state parent group session ...", and the name may hold anything.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) in sessions and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


def kill_all(pids: Sequence[int]) -> None:
    """End these processes at once."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
