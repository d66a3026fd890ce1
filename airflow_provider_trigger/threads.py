"""Do work in daemon threads, which do not hold up the end of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextvars import copy_context
from functools import partial
from itertools import islice
from typing import TypeVar

from airflow_provider_trigger.api.errors import NotSentError

Item = TypeVar("Item")
Returned = TypeVar("Returned")


def begin(work: Callable[[], Returned]) -> Future[Returned]:
    """
    Begin some work in a thread, in a copy of the caller's context.

    :raises NotSentError: the process can start no more threads
    """
    reply: Future[Returned] = Future()
    reply.set_running_or_notify_cancel()  # the work continues when nothing waits for it
    context = copy_context()

    def run() -> None:
        try:
            reply.set_result(context.run(work))
        except BaseException as error:
            reply.set_exception(error)  # raised where it is waited for

    try:
        threading.Thread(target=run, name="trigger-dev-call", daemon=True).start()
    except RuntimeError as error:
        raise NotSentError(f"no thread could be started: {error}", retryable=True) from None
    return reply


def in_threads(
    work: Callable[[Item], Returned], items: Iterable[Item], at_once: int
) -> Iterator[tuple[Item, Returned]]:
    """Do the same for each item, several at a time; yield each with what came of it, once it is done."""
    left, begun = iter(items), dict[Future[Returned], Item]()
    while True:
        for item in islice(left, at_once - len(begun)):
            begun[begin(partial(work, item))] = item
        if not begun:
            return
        wait(begun, return_when=FIRST_COMPLETED)
        for reply in [reply for reply in begun if reply.done()]:
            yield begun.pop(reply), reply.result()


async def in_thread(work: Callable[[], Returned]) -> Returned:
    """Await some work in a thread; a caller who is canceled leaves at once, and the work continues."""
    return await asyncio.wrap_future(begin(work))
