"""Start a run of a Trigger.dev task, and wait for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_trigger._compat import AirflowFailException, default_queue, is_mapped_instance
from airflow_provider_trigger.defaults import AUTOMATIC_KEY
from airflow_provider_trigger.operators.one_run import OneRunOperator
from airflow_provider_trigger.operators.rendered import (
    check_sequence_texts,
    lone_expressions,
    none_texts,
    with_lists,
)
from airflow_provider_trigger.run.identity import TAGS_OF_OURS, RunKey
from airflow_provider_trigger.run.request import OPTIONS, TaskRequest, check_options, check_payload, to_api
from airflow_provider_trigger.validation import failing_for_good, is_templated

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.run.cancel_guard import CancelGuard
    from airflow_provider_trigger.run.start import Started

# Airflow's own argument ``queue`` is the executor's, so the attribute has another name.
_ATTRIBUTES = {name: "run_queue" if name == "queue" else name for name in OPTIONS}
# All that can be templated, but the connection.
_RENDERED = {name: name for name in ("task_identifier", "payload")} | _ATTRIBUTES
_RENDERED |= {"idempotency_key": "idempotency_key"}

_NONE_TEXT = (
    "%s rendered to the text 'None', and is sent so: its template found nothing, or a task returned None. "
    "Check the task ids and the key in the template; a task's .output in its place gives None itself"
)


class RunTriggerTaskOperator(OneRunOperator):
    """
    Start a run of a Trigger.dev task, wait for it, and return its output.

    A task instance has one run, also when an answer is lost, a worker crashes, or the task is retried while
    the run is alive: the request carries an idempotency key made of what identifies the task instance. A
    retry takes up a run that is alive, returns the output of one that has completed, and starts a new one in
    place of one that failed or was canceled. Clearing a task that has ended starts a new run. Where a task
    executes operators by hand, each execution has a run.

    The run carries three tags: ``airflow_dag:…``, and one each for this Dag run and this task instance.

    It takes the arguments of :class:`~airflow_provider_trigger.operators.base.RunsOperator`, too. See
    :class:`~airflow_provider_trigger.operators.one_run.OneRunOperator` for XComs and outputs.

    :param task_identifier: the id of the Trigger.dev task; templated
    :param payload: any JSON, up to 3 MB; templated at any depth, and the outputs of tasks may be in it, those
        of mapped ones too
    :param queue: the name of Trigger.dev's queue; templated. A ``queue`` in ``default_args`` is Airflow's
    :param concurrency_key: limits the queue's concurrency for each value; templated
    :param delay: when to start: a duration such as ``"1h30m"``, a timedelta, a time, an ISO date; templated
    :param ttl: how long the run may wait for its start: ``"10m"``, seconds, or a timedelta; templated. It
        never expires while no worker asks for runs (measured): set ``timeout``, too
    :param tags: up to 7, of up to 128 characters, without a comma; templated
    :param metadata: a dict of JSON, up to 256 KB; templated
    :param max_attempts: how many attempts the run has; templated
    :param max_duration: how long an attempt may compute, in seconds; templated
    :param machine: the machine preset, such as ``"small-1x"``; templated
    :param priority: moves the run forward in its queue, as if it was created so many seconds earlier;
        templated
    :param region: where it runs; templated
    :param lock_to_version: the version of the task to run; templated
    :param idempotency_key: ``"auto"`` for the one described above, or your own; None for none: then a lost
        answer is an error that says that a run may exist, without retries, and a retry after any other
        error starts another run; templated
    :raises ValueError: when the Dag is parsed: an argument is invalid; where it is templated, or in a mapped
        task, when it runs: then it fails without retries, before anything is sent
    """

    template_fields: Sequence[str] = (*_RENDERED.values(), "trigger_dev_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"payload": "json", "metadata": "json"}

    def __init__(
        self,
        *,
        task_identifier: str,
        payload: Any = None,
        queue: str | None = None,
        concurrency_key: str | None = None,
        delay: str | timedelta | datetime | None = None,
        ttl: str | int | timedelta | None = None,
        tags: str | Sequence[str] | None = None,
        metadata: dict[str, Any] | None = None,
        max_attempts: int | None = None,
        max_duration: int | None = None,
        machine: str | None = None,
        priority: float | None = None,
        region: str | None = None,
        lock_to_version: str | None = None,
        idempotency_key: str | None = AUTOMATIC_KEY,
        **kwargs: Any,
    ) -> None:
        queue = self._own_queue(queue, kwargs)
        super().__init__(**kwargs)
        self.task_identifier = task_identifier
        self.payload = payload
        self.run_queue = queue
        self.concurrency_key = concurrency_key
        self.delay = delay
        self.ttl = ttl
        self.tags = tags
        self.metadata = metadata
        self.max_attempts = max_attempts
        self.max_duration = max_duration
        self.machine = machine
        self.priority = priority
        self.region = region
        self.lock_to_version = lock_to_version
        self.idempotency_key = idempotency_key
        self._has_key = idempotency_key is not None
        with failing_for_good(self):
            self._check(skip=is_templated)
        self._lone_expressions = lone_expressions(self._rendered)

    def _own_queue(self, queue: str | None, kwargs: dict[str, Any]) -> str | None:
        """Return the run's queue; one that Airflow passes on by itself goes to Airflow's arguments."""
        # Up to Airflow 3.2, ``partial()`` adds its default to the arguments of a mapped task.
        added = [default_queue()] if is_mapped_instance(self) else []
        if queue is None or queue not in [kwargs["default_args"].get("queue"), *added]:
            return queue
        kwargs["queue"] = queue
        return None

    def _check(
        self, *, skip: Callable[[object], bool] = lambda value: False, now: datetime | None = None
    ) -> None:
        """Check what the server would reject, or ignore without a word."""
        if not skip(self.task_identifier) and not (
            isinstance(self.task_identifier, str) and self.task_identifier.strip()
        ):
            what = f"the id of a Trigger.dev task, not {self.task_identifier!r}"
            raise ValueError(f"{self._owner}: task_identifier must be {what}")
        check_payload(self._owner, self.payload, skip=skip)
        options = self._options
        if self._has_key:
            # With native rendering, a template that finds nothing is None, and not the text.
            key = self.idempotency_key
            options["idempotency_key"] = str(None) if key is None else key
        check_options(self._owner, options, skip=skip, now=now, tags_of_ours=TAGS_OF_OURS)

    @property
    def _options(self) -> dict[str, Any]:
        options = {name: getattr(self, attribute) for name, attribute in _ATTRIBUTES.items()}
        return {name: value for name, value in options.items() if value is not None}

    @property
    def _rendered(self) -> dict[str, Any]:
        return {name: getattr(self, attribute) for name, attribute in _RENDERED.items()}

    def _check_rendered(self, now: datetime | None) -> None:
        """Check what templates and other tasks' outputs have become; a failure is one for good."""
        for attribute in _RENDERED.values():
            setattr(self, attribute, with_lists(getattr(self, attribute)))
        for place in none_texts(self._rendered, self._lone_expressions):
            self.log.warning(_NONE_TEXT, place)
        try:
            check_sequence_texts(self._owner, self._rendered)
            self._check(now=now)
        except ValueError as error:
            raise AirflowFailException(str(error)) from None

    def _start(self, client: TriggerDevClient, guard: CancelGuard, context: Context) -> Started:
        from airflow_provider_trigger.run.start import start_run
        from airflow_provider_trigger.run.start_again import start_run_of
        from airflow_provider_trigger.sources.context import key_of, task_instance_of

        identity = task_instance_of(context)
        is_retry = identity is not None and context["ti"].try_number > 1
        # A time that was to come in the first try may have passed: the run starts at once then (measured).
        now = datetime.min.replace(tzinfo=UTC) if is_retry else None
        self._check_rendered(now)
        options = to_api(self._options, now=now)
        if identity:
            options["tags"] = [*options.get("tags", []), *identity.tags]
        key: RunKey | str | None = self.idempotency_key
        if key == AUTOMATIC_KEY:
            # Of its own it has none where a task executes it by hand.
            retries = context.get("task", self).retries or 0
            key = key_of(context, identity, operator_id=self.task_id, retries=retries) if identity else None
        if key is not None:
            options["idempotencyKey"] = str(key)
        guard.request = request = TaskRequest(
            task_identifier=self.task_identifier, payload=self.payload, options=options
        )
        self.log.info("Starting a run of Trigger.dev task %r", self.task_identifier)
        if isinstance(key, RunKey) and self.wait_for_completion and is_retry:
            return start_run_of(
                key, client, request, cancels=self.cancel_on_kill, log=self.log, sleep=guard.sleep
            )
        return start_run(client, request, log=self.log, sleep=guard.sleep)
