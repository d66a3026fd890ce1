"""The only place where Airflow's versions differ, and where its private names stand."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from airflow_provider_trigger.defaults import RUN_ID_KEY

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from airflow.sdk import BaseHook as BaseHook
    from airflow.sdk import BaseNotifier as BaseNotifier
    from airflow.sdk import BaseOperator as BaseOperator
    from airflow.sdk import BaseOperatorLink as BaseOperatorLink
    from airflow.sdk import BaseSensorOperator as BaseSensorOperator
    from airflow.sdk import Connection as Connection
    from airflow.sdk import Context
    from airflow.sdk import PokeReturnValue as PokeReturnValue
    from airflow.sdk import XComArg as XComArg
    from airflow.sdk.exceptions import AirflowException as AirflowException
    from airflow.sdk.exceptions import AirflowFailException as AirflowFailException
    from airflow.sdk.exceptions import AirflowNotFoundException as AirflowNotFoundException
    from airflow.sdk.exceptions import AirflowSensorTimeout as AirflowSensorTimeout
    from airflow.sdk.exceptions import AirflowSkipException as AirflowSkipException
    from airflow.triggers.base import BaseEventTrigger as BaseEventTrigger
    from airflow.triggers.base import BaseTrigger as BaseTrigger
    from airflow.triggers.base import TriggerEvent as TriggerEvent


INIT_ARGUMENTS = "_BaseOperator__init_kwargs"
"""The attribute in which Airflow keeps an operator's arguments as they were given."""

IS_TASK_DECORATOR = "_airflow_is_task_decorator"
"""The attribute that is true of what ``@task`` makes of a function, until it is called."""

TRIGGER_FAILED = "__fail__"
"""The method that Airflow names where a trigger has failed or timed out."""

_DEFERRAL_TIMEOUT = "Trigger/execution timeout"  # how Airflow 2 says it

# The modules that have each name, the newest Airflow's first. They are imported when the name is used, so
# that parsing a Dag costs no more than it needs.
_MODULES = {
    "AirflowException": ("airflow.exceptions",),
    "AirflowFailException": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "AirflowNotFoundException": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "AirflowSensorTimeout": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "AirflowSkipException": ("airflow.sdk.exceptions", "airflow.exceptions"),
    "BaseHook": ("airflow.sdk", "airflow.hooks.base"),
    "BaseOperatorLink": ("airflow.sdk", "airflow.models.baseoperatorlink"),
    "BaseSensorOperator": ("airflow.sdk", "airflow.sensors.base"),
    "BaseTrigger": ("airflow.triggers.base",),
    "PokeReturnValue": ("airflow.sdk", "airflow.sensors.base"),
    "TriggerEvent": ("airflow.triggers.base",),
    "BaseNotifier": ("airflow.sdk", "airflow.notifications.basenotifier"),
    "BaseOperator": ("airflow.sdk", "airflow.models.baseoperator"),
    "XCom": ("airflow.sdk.execution_time.xcom", "airflow.models.xcom"),
    "XComArg": ("airflow.sdk", "airflow.models.xcom_arg"),
}


def __getattr__(name: str) -> Any:
    version = airflow_version() if name == "BaseEventTrigger" else ""
    # The triggerer of 3.0.4 never answers a request that sets a Variable, which blocks all triggers (read;
    # changed by apache/airflow #53514).
    known = _MODULES if version in ("", "3.0.4") else {name: ("airflow.triggers.base",)}
    for module in known.get(name, ()):
        try:
            return getattr(import_module(module), name)
        except (ImportError, AttributeError):
            continue
    if version:
        raise ImportError(f"TriggerRunEventTrigger needs Airflow 3.0.5 or newer, this is {version}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def airflow_version() -> str:
    """Return Airflow's version."""
    from airflow import __version__

    return __version__


async def get_async_connection(conn_id: str, *, executor: ThreadPoolExecutor | None = None) -> Connection:
    """Get a connection on an event loop; older Airflows wait in the executor, None for the loop's own."""
    get: Any
    try:
        # Airflow's own helper knows which version deadlocks at which call.
        from airflow.providers.common.compat.connection import get_async_connection as get
    except ImportError:
        from asgiref.sync import sync_to_async

        # In a thread that asgiref has not made, masking the password breaks the triggerer of Airflow 3.0.
        get = sync_to_async(__getattr__("BaseHook").get_connection, thread_sensitive=False, executor=executor)
    connection: Connection = await get(conn_id)
    return connection


def is_mapped_instance(operator: Any) -> bool:
    """Return whether an operator is an instance of a mapped one, made when its task runs."""
    return bool(getattr(operator, "_BaseOperator__from_mapped", False))


def task_failure(text: str, *, is_retried: bool) -> AirflowException:
    """Return the error that fails a task, for good unless it ``is_retried``."""
    name = "AirflowException" if is_retried else "AirflowFailException"
    return cast("AirflowException", __getattr__(name)(text))


def has_deferral_timed_out(error: BaseException) -> bool:
    """Return whether a sensor's ``resume_execution`` raises an error because its deferral has timed out."""
    return isinstance(error, __getattr__("AirflowSensorTimeout")) or str(error) == _DEFERRAL_TIMEOUT


def link_key(kind: type[BaseOperatorLink]) -> str:
    """Return the key of the XCom in which Airflow 3 looks for the address of a link."""
    return f"_link_{kind.__name__}"


def triggers_have_on_kill() -> bool:
    """Return whether Airflow calls ``on_kill`` of a trigger whose task was ended, as it does since 3.3."""
    # Since apache/airflow #65590.
    from airflow.triggers.base import BaseTrigger

    return hasattr(BaseTrigger, "on_kill")


def scheduler_knows_resumed_tasks() -> bool:
    """Return whether the scheduler distinguishes a deferral that it sees late from the resumed task's end."""
    # Since apache/airflow #66431 for one that is scheduled, since #68741 for one that is queued.
    return tuple(map(int, airflow_version().split(".")[:2])) >= (3, 4)


def dag_runs_have_newest_events() -> bool:
    """Return whether a Dag run has all events of its assets, also those after the one that has queued it."""
    # Since apache/airflow #70972.
    return tuple(map(int, airflow_version().split(".")[:2])) >= (3, 4)


def stop_time() -> float:
    """Return how long a task may cancel its runs after a signal, in seconds."""
    # Airflow 3 sends SIGKILL 5 s after the signal, Airflow 2 after a minute.
    return 8.0 if airflow_version().startswith("2.") else 4.0


def default_deferrable() -> bool:
    """Return Airflow's setting ``[operators] default_deferrable``."""
    from airflow.configuration import conf

    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


def default_queue() -> str:
    """Return Airflow's setting ``[operators] default_queue``, the queue of tasks that are given none."""
    from airflow.configuration import conf

    return str(conf.get("operators", "default_queue", fallback="default"))


def log_url_of(ti: Any) -> str | None:
    """Return the URL of a task instance's log in Airflow's UI; None unless someone has set that of the UI."""
    from airflow.configuration import conf

    section = "webserver" if airflow_version().startswith("2.") else "api"
    base, log_url = conf.get(section, "base_url", fallback=""), getattr(ti, "log_url", None)
    # Airflow 2 has a default, and writes it into the `airflow.cfg` that it makes (measured).
    is_known = base and base != conf.get_default_value(section, "base_url")
    if not (is_known and log_url):  # in Airflow 3.0, a task instance of `dag.test()` has no URL
        return None
    # After a base that ends with a slash Airflow 2 writes another one; Airflow 3.0 never writes any.
    return f"{base.rstrip('/')}/{log_url.removeprefix(base).lstrip('/')}"


_TASK_RUNNER = "airflow.sdk.execution_time.task_runner"

# The prefix of the name under which a watcher's position is stored.
_POSITION_KEY = "trigger_dev_events_"


def iteration_of(context: Context) -> tuple[str | int, ...]:
    """Return what distinguishes the iterations of a task in a loop (Airflow 3.4); empty outside of one."""
    ti: Any = context["ti"]
    region = getattr(ti, "region_id", None)
    # A mapped task outside of loops has a region, too; a callback in the Dag processor has no ``loop``.
    if not isinstance(region, UUID) or not ("loop" in context or _is_in_loop(ti.task)):
        return ()
    return str(region), ti.region_index


def _is_in_loop(task: Any) -> bool:
    group = task.task_group
    while group is not None and not hasattr(group, "max_iterations"):
        group = group.parent_group
    return group is not None


def first_reschedule_of(context: Context, sensor: Any) -> datetime | None:
    """Return when a sensor poked first that was rescheduled since, None for one that was not."""
    ti: Any = context["ti"]
    if hasattr(ti, "get_first_reschedule_date"):  # Airflow 3, apache/airflow #48193
        return cast("datetime | None", ti.get_first_reschedule_date(context))
    first_try = (ti.max_tries or 0) - (sensor.retries or 0) + 1
    ids = {name: getattr(ti, name) for name in ("dag_id", "task_id", "run_id", "map_index")}
    first_date: Any = vars(import_module("airflow.sensors.base"))["_orig_start_date"]
    return cast("datetime | None", first_date(**ids, try_number=first_try))


def has_no_supervisor(ti: Any) -> bool:
    """Return whether a task instance cannot pull XComs, as its process has no supervisor."""
    # True in Dag callbacks under `airflow dags test` and `dag.test()` of Airflow 3 (measured).
    if not type(ti).__module__.startswith("airflow.sdk."):
        return False
    return not hasattr(import_module(_TASK_RUNNER), "SUPERVISOR_COMMS")


def xcom_is_out_of_reach() -> bool:
    """Return whether pulling an XCom would never return: in the Dag processor of Airflow 3.0 (measured)."""
    # Its supervisor does not know that request, and this process cannot decode the response (changed by
    # apache/airflow #55542).
    task_runner = sys.modules.get(_TASK_RUNNER)
    decoder: Any = getattr(getattr(task_runner, "SUPERVISOR_COMMS", None), "body_decoder", None)
    if decoder is None:
        return False
    from pydantic import ValidationError

    try:
        decoder.validate_python({"type": "XComResult", "key": "key", "value": None})
    except ValidationError:
        return True
    return False


def may_pull_in_thread() -> bool:
    """Return whether answers to two requests at a time are kept apart: not in 3.0 and ``dag.test()``."""
    # The lock came with apache/airflow #60268.
    comms = getattr(sys.modules.get(_TASK_RUNNER), "SUPERVISOR_COMMS", None)
    return comms is None or hasattr(comms, "_thread_lock")


def is_still_deferred(ti: Any, trigger_id: Any, run_ids: Collection[str]) -> bool:
    """Return whether a task instance is deferred to this trigger; any error: Airflow did not answer."""
    if not type(ti).__module__.startswith("airflow.models."):
        return _is_deferred_by_supervisor(ti, run_ids)
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        row = (
            session.query(TaskInstance.state, TaskInstance.trigger_id)
            .filter_by(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index)
            .one_or_none()
        )
    return row is not None and row.state == "deferred" and row.trigger_id == trigger_id


def _is_deferred_by_supervisor(ti: Any, run_ids: Collection[str]) -> bool:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    if set(next(iter(states.values()), {}).values()) != {"deferred"}:
        return False
    pushed = xcom_of(ti, key=RUN_ID_KEY)  # a new try has other run ids
    if pushed is None:
        return True
    if isinstance(pushed, str) and pushed.startswith("["):  # an XCom backend may return a text
        pushed = json.loads(pushed)
    listed = pushed if isinstance(pushed, (list, tuple)) else [pushed]
    return {run_id for run_id in listed if run_id is not None} == set(run_ids)


def xcom_of(ti_key: Any, *, key: str) -> Any:
    """Return an XCom of one task instance, None where it has none."""
    return __getattr__("XCom").get_one(
        key=key,
        dag_id=ti_key.dag_id,
        task_id=ti_key.task_id,
        run_id=ti_key.run_id,
        map_index=ti_key.map_index,
    )


def may_have_pushed(ti: Any) -> bool:
    """Return whether a task instance may have pushed an XCom that its operator does not know."""
    # In the process that has run a task, only a task that was deferred before may have: its XComs are cleared
    # when a try starts, and Airflow logs an error for each one that is requested and missing.
    in_its_process = getattr(ti, "_ti_context_from_server", None)
    return in_its_process is None or bool(in_its_process.next_method)


def read_sequence(value: Any) -> Any:
    """Return one of Airflow's own sequences, as a mapped task's output is, as a list; others as they are."""
    is_text = isinstance(value, (str, bytes))  # as Airflow's enumerations of states are
    if is_text or not isinstance(value, Sequence) or not type(value).__module__.startswith("airflow."):
        return value
    # An iterator of Airflow 3 sends one request for each item, and one more, for which Airflow logs an error.
    is_lazy = type(value).__name__.startswith("Lazy")
    return list(value[:]) if is_lazy else [value[index] for index in range(len(value))]


def add_to_asset_events(outlets: Iterable[Any], context: Context, *, key: str, value: Any) -> None:
    """Add to the ``extra`` of events of a task's assets, not of aliases; what has the key already stays."""
    try:
        from airflow.sdk import Asset
    except ImportError:  # Airflow 2
        from airflow.datasets import Dataset as Asset  # type: ignore[no-redef]
    events: Any = context.get("outlet_events")
    for outlet in outlets:
        if events is not None and isinstance(outlet, Asset):
            events[outlet].extra.setdefault(key, value)


def store_of(trigger: Any, *, name: str, digest: str) -> Store:
    """Return where a watcher saves a JSON object; its name is unique for an asset, the digest for all."""
    # It loads a list: nothing or one object for each place, and what else somebody has put there. Its calls
    # end although their caller is canceled: on Airflow 3.0 and 3.1 a trigger canceled while it talks to the
    # supervisor breaks all others (measured).
    state = getattr(trigger, "asset_state_store", None)  # Airflow 3.3 and newer, apache/airflow #67839
    if state is None:
        return _Variable(_POSITION_KEY + digest, description=f"What the watcher {name!r} has seen")
    return _AssetStates(list(state._by_name.values()), _POSITION_KEY + name)


class _AssetStates:
    """The state of each asset that the trigger watches, so that one more or less makes no difference."""

    def __init__(self, assets: list[Any], key: str) -> None:
        self._assets, self._key = assets, key

    async def load(self) -> list[Any]:
        stored = await asyncio.shield(asyncio.gather(*(asset.aget(self._key) for asset in self._assets)))
        return [value for value in stored if value is not None]

    async def save(self, value: dict[str, Any]) -> None:
        saves = (asset.aset(self._key, value) for asset in self._assets)
        replies = await asyncio.shield(asyncio.gather(*saves, return_exceptions=True))
        errors = [reply for reply in replies if isinstance(reply, BaseException)]
        if len(errors) == len(replies):  # one that is no longer active cannot be written
            raise errors[0]


class _Variable:
    def __init__(self, key: str, *, description: str) -> None:
        self._key, self._description = key, description

    async def load(self) -> list[Any]:
        from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, GetVariable

        answer = await _ask(GetVariable(key=self._key))
        if not isinstance(answer, ErrorResponse):
            with suppress(ValueError, RecursionError):
                return [json.loads(answer.value)]
            return [answer.value]
        if answer.error != ErrorType.VARIABLE_NOT_FOUND:
            raise AirflowRuntimeError(answer)
        return []

    async def save(self, value: dict[str, Any]) -> None:
        from airflow.sdk.execution_time.comms import PutVariable

        await _ask(PutVariable(key=self._key, value=json.dumps(value), description=self._description))


Store = _AssetStates | _Variable


async def _ask(message: Any) -> Any:
    # The methods of `Variable` block the event loop, or deadlock in it before 3.2.
    return await asyncio.shield(import_module(_TASK_RUNNER).SUPERVISOR_COMMS.asend(message))
