"""Base class of notifiers that do something with ids: in a callback, or awaited in the triggerer."""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_trigger._compat import BaseNotifier
from airflow_provider_trigger.sources.arguments import TakesIds
from airflow_provider_trigger.sources.context import origin_of
from airflow_provider_trigger.sources.run_ids import RunIds

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.limits import Deadline
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
    from airflow_provider_trigger.sources.run_ids import Reaction


class IdsNotifier(TakesIds, BaseNotifier):
    """Gather ids, and do something with them within a time limit; a subclass says what."""

    _on_empty: ClassVar[Reaction] = "ignore"
    _takes_outputs: ClassVar[bool] = False
    _searches: bool = False  # for what its sources do not name

    trigger_dev_conn_id: str
    timeout: Any

    def __init__(self, *args: object) -> None:
        super().__init__()
        if args:
            name = type(self).__name__
            raise TypeError(
                f"{name}: nothing was done, as it takes keyword arguments only: the callback must be an "
                f"instance of this class, not the class itself; write on_failure_callback={name}(...)"
            )

    def __call__(self, *args: Any) -> None:
        """Render and work; see :meth:`notify`."""
        # Rendering replaces the fields, and one notifier serves many Dag runs: it would keep the first one's.
        super(IdsNotifier, copy.copy(self)).__call__(*args)

    def __await__(self) -> Generator[Any, None, None]:
        """Render and work, in the triggerer."""
        return super(IdsNotifier, copy.copy(self)).__await__()

    def render_template_fields(self, context: Context, jinja_env: Any = None) -> None:
        """Render this notifier's fields, in place; the log gets an error, with what is left."""
        try:
            self._render_fields(context, jinja_env)
        except Exception as error:
            # Any error: a template calls what it likes.
            why = f"a template cannot be rendered: {type(error).__name__}: {error}"
            left = self._left(RunIds(kind=self._id_kind, failed=[why]))
            self.log.error("%s%s", origin_of(context), "; ".join((why, *left)))
            raise

    def _render_fields(self, context: Context, jinja_env: Any) -> None:
        # Under ``dag.test()`` of Airflow 3 a Dag callback gets a serialized Dag, which has no templates.
        env = jinja_env or getattr(context.get("dag"), "get_template_env", self.get_template_env)()
        # Before 3.3 Airflow itself keeps a template that renders to nothing, such as False or an empty list.
        for name, value in [(name, getattr(self, name)) for name in self.template_fields]:
            render = value if callable(value) else partial(self.render_template, value)
            setattr(self, name, render(context=context, jinja_env=env))

    def notify(self, context: Context) -> None:
        """
        Do the work.

        :param context: of the task or the Dag run
        :raises ConnectionNotFoundError: Airflow has not found the connection
        :raises InvalidConnectionError: a field of the connection is missing or malformed
        """
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
        from airflow_provider_trigger.report.cancels import adding

        origin, begun = origin_of(context), time.monotonic()
        ids = self._gather(context, origin)
        with adding(self._left(ids), origin=origin):
            hook = None
            if ids.found or self._searches:
                hook = TriggerDevHook(self.trigger_dev_conn_id)
                _ = hook.settings  # a busy Airflow may give its connection late, too
            self._work(context, ids, hook, self._deadline(begun), origin)

    async def async_notify(self, context: Context) -> None:
        """
        Do the work in a thread of its own; for deadline alerts, whose context has no XCom.

        :param context: of the deadline
        """
        from airflow_provider_trigger.hooks.fetching import fetch_on_loop
        from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook
        from airflow_provider_trigger.report.cancels import adding

        origin, begun = origin_of(context), time.monotonic()
        # The event loop's own executor is shared by all that runs in the triggerer: callbacks that wait for a
        # dead server would keep others from starting, whose time limit runs meanwhile.
        executor = ThreadPoolExecutor(1, "trigger-dev-notifier")

        def in_thread(function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
            # With the context variables by which the triggerer finds its log.
            return asyncio.get_running_loop().run_in_executor(executor, copy_context().run, function, *args)

        try:
            ids = await in_thread(self._gather, context, origin)
            with adding(self._left(ids), origin=origin):
                hook = None
                if ids.found or self._searches:
                    connection = await fetch_on_loop(self.trigger_dev_conn_id, executor=executor)
                    hook = TriggerDevHook(self.trigger_dev_conn_id, connection=connection)
                await in_thread(self._work, context, ids, hook, self._deadline(begun), origin)
        finally:
            executor.shutdown(wait=False)

    def _deadline(self, begun: float) -> Deadline:
        """Return when the work must have ended: half of the time is left to it, however long reading took."""
        from airflow_provider_trigger.api.limits import Deadline

        return Deadline(max(begun + self.timeout, time.monotonic() + self.timeout / 2))

    def _gather(self, context: Context, origin: str) -> RunIds:
        return self._gather_ids(context, on_empty=self._on_empty, origin=origin)

    def _left(self, ids: RunIds) -> list[str]:
        """Return what an error that is raised names, as it is not done."""
        raise NotImplementedError

    def _work(
        self, context: Context, ids: RunIds, hook: TriggerDevHook | None, deadline: Deadline, origin: str
    ) -> None:
        raise NotImplementedError
