"""Cancel runs from a callback of a Dag or a task."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from airflow_provider_trigger import defaults
from airflow_provider_trigger.log import write
from airflow_provider_trigger.notifications.base import IdsNotifier
from airflow_provider_trigger.rules import Duration, boolean, connection_id, duration, number
from airflow_provider_trigger.sources.arguments import TakesRunIds, check_arguments
from airflow_provider_trigger.sources.context import starter_of
from airflow_provider_trigger.sources.run_ids import RunIds

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.limits import Deadline
    from airflow_provider_trigger.cancel.outcome import CancelResult
    from airflow_provider_trigger.hooks.trigger_dev import TriggerDevHook

RULES = {
    "trigger_dev_conn_id": connection_id,
    "include_descendants": boolean,
    "timeout": duration(least=0.01),
    "max_concurrency": number("requests", least=1, whole=True),
}


class CancelTriggerRunNotifier(TakesRunIds, IdsNotifier):
    """
    Cancel Trigger.dev runs from ``on_failure_callback``, ``on_retry_callback`` and the like.

    Works for a task's callbacks, for a Dag's, and for a deadline alert. Without ``run_ids`` and
    ``xcom_task_ids`` it cancels what this Dag run, or in a task's callback this task instance, has started
    with this provider's operators, and nothing else. The log of the process that runs it gets a line for
    each run and a summary; nothing is raised for a run that could not be canceled. Running it twice does no
    harm.

    :param run_ids: a list or a text; templated. Not the output of a task: for that there is ``xcom_task_ids``
    :param include_descendants: whether to cancel all that the runs have started, too, and what that has
        started, at once
    :param timeout: for the whole call: seconds, a timedelta, or a text such as ``"5m"``; the cancels of all
        runs are sent first, then the status checks, and in the last tenth one query for those that are not
        confirmed. Runs that XCom names in the second half of it get half of it nevertheless
    :param max_concurrency: how many requests are in flight at a time
    :param context: given by Airflow where the notifier is awaited
    :raises ValueError: when the Dag is parsed: a task's output in ``run_ids``, a task in place of its id, or
        an invalid value
    :raises TypeError: the class itself is the callback, or arguments are given by position
    """

    template_fields: Sequence[str] = (*TakesRunIds.template_fields, "trigger_dev_conn_id")

    def __init__(
        self,
        *args: Any,
        run_ids: Any = None,
        xcom_task_ids: str | Iterable[str] | None = None,
        xcom_key: str | None = None,
        trigger_dev_conn_id: str = defaults.CONN_ID,
        include_descendants: bool = False,
        timeout: Duration = defaults.NOTIFIER_TIMEOUT,
        max_concurrency: int = defaults.MAX_CONCURRENCY,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(*args)
        self.context: Any = context or {}
        self._take_ids(run_ids, xcom_task_ids=xcom_task_ids, xcom_key=xcom_key, required=False)
        self.trigger_dev_conn_id = trigger_dev_conn_id
        self.include_descendants = include_descendants
        self.timeout: Any = timeout
        self.max_concurrency = max_concurrency
        # Without any, it cancels what the Dag run or the task instance has started.
        self._searches = self.run_ids is None and self.xcom_task_ids is None
        check_arguments(self, RULES)

    def _gather(self, context: Context, origin: str) -> RunIds:
        ids, starter = RunIds(), starter_of(context)
        what = f"of the tag {starter.tag!r}, and of XCom" if starter else "of XCom"
        if not self._searches:
            what = f"of xcom_task_ids={self.xcom_task_ids!r}" if self.xcom_task_ids else "of run_ids"
            ids.rest = self._reading_ids(ids, context, on_empty="ignore", origin=origin)
        self.log.info("%sCanceling the Trigger.dev runs %s", origin, what)
        any(ids.rest)  # more are read while these are canceled
        return ids

    def _left(self, ids: RunIds) -> list[str]:
        from airflow_provider_trigger.report.cancels import gathered_left

        return gathered_left(ids, searched=self._searches or self.xcom_task_ids is not None)

    def _work(
        self, context: Context, ids: RunIds, hook: TriggerDevHook | None, deadline: Deadline, origin: str
    ) -> None:
        from airflow_provider_trigger.report.cancels import make_report, of_callback, of_work
        from airflow_provider_trigger.sources.search import lacking, started

        results: list[CancelResult] = []
        rejection = None
        if hook is not None:
            with hook.client() as client:
                if self._searches:
                    ids.rest = started(context, ids, client, deadline=deadline, log=self.log, origin=origin)
                else:
                    others = lacking(ids, client, deadline=deadline, log=self.log, origin=origin)
                    ids.rest = chain(ids.rest, others)
                results, rejection, unsearched = self._cancel_runs(ids, hook, deadline)
            write(self.log, of_work(results, unsearched, hook.settings.run_url), origin=origin)
        conn_id = self.trigger_dev_conn_id
        report = make_report(results=results, ids=ids, conn_id=conn_id, rejection=rejection)
        write(self.log, [of_callback(report)], origin=origin)

    def _cancel_runs(
        self, ids: RunIds, hook: TriggerDevHook, deadline: Deadline
    ) -> tuple[list[CancelResult], str | None, Sequence[str]]:
        """
        Cancel the runs as they are read; what is read in the second half of the time gets half of it, too.

        Return what became of each, what to do about a rejected key, and whose descendants may be missing.
        """
        from airflow_provider_trigger.api.errors import AuthenticationError
        from airflow_provider_trigger.api.limits import Deadline
        from airflow_provider_trigger.cancel.record import CancelSettings

        results: dict[str, CancelResult] = {}
        unsearched: dict[str, None] = {}  # an ordered set
        count, late_from, is_over = 0, 0.0, False  # how many were read before so late

        def read() -> Iterator[list[str]]:
            nonlocal count
            for found in ids.rest:
                if time.monotonic() < late_from:
                    count = len(ids.found)
                yield [run_id for run_id in found if run_id not in results]

        while not is_over:
            rejection, count, late_from = None, len(ids.found), deadline.at - self.timeout / 2
            settings = CancelSettings(
                max_concurrency=self.max_concurrency,
                include_descendants=self.include_descendants,
                time_limit=deadline.remaining(time.monotonic()),
                bulk_from=defaults.BULK_FROM_IN_A_CALLBACK,
            )
            left = [run_id for run_id in ids.found if run_id not in results or results[run_id].error]
            with hook.cancellation(left, settings) as work:
                try:
                    work.run(read())
                except AuthenticationError as error:
                    rejection = hook.settings.action_for(error)
            results |= {result.run_id: result for result in work.results}
            unsearched |= dict.fromkeys(work.unsearched)
            known = len(ids.found)
            is_late = known > count and not work.finished
            # Or one more is read, whose time begins then.
            is_over = not is_late and all(len(ids.found) == known for _ in ids.rest)
            deadline = Deadline.after(self.timeout / 2, now=time.monotonic())
        return [*results.values()], rejection, [*unsearched]
