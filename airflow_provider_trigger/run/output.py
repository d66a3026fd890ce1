"""Fetch what completed runs have returned, and say what goes into XCom; a size is in bytes of JSON."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_trigger.api import errors
from airflow_provider_trigger.api.answers import SUPERJSON, error_of, from_superjson, may_pass
from airflow_provider_trigger.api.errors import TriggerDevError, is_internal_error
from airflow_provider_trigger.api.http import MAX_BODY_BYTES, Call, Request, Response, encode_json
from airflow_provider_trigger.api.runs import ended_run, retrieve_run
from airflow_provider_trigger.log import Log, enumeration
from airflow_provider_trigger.run.checks import CONCURRENCY
from airflow_provider_trigger.run.facts import UnstorableError, for_xcom
from airflow_provider_trigger.threads import in_threads

if TYPE_CHECKING:
    from airflow_provider_trigger.api.client import TriggerDevClient
    from airflow_provider_trigger.api.models import Run


def fetch_output(url: str, *, limit: int = MAX_BODY_BYTES) -> Call[Any]:
    """
    Fetch an output of up to so many bytes from the object store: ``GET`` of a run's ``outputPresignedUrl``.

    Sent without the key: the URL is signed, and a store may reject a second kind of authorization. What the
    worker stored (measured) is a bare text, or a superjson document, of which ``json`` is returned.
    """
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        raise errors.NotSentError("the server sent a URL for the run's output that is not valid")
    request = Request(method="GET", path=parts.path or "/", url=url, repeatable=True, limit=limit)

    def read(response: Response) -> Any:
        if not 200 <= response.status < 300:
            raise _store_error(request, response.status, str(parts.hostname))
        kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
        others = ("application/json", SUPERJSON, "text/html")  # the last is not what a worker stored
        if kind == "text/plain" or (kind not in others and request.path.endswith(".txt")):
            with suppress(UnicodeDecodeError):
                return response.body.decode()
            raise errors.UnreadableAnswerError(
                f"{request} answered a text that is not UTF-8", retryable=False
            )
        value = response.json()
        if value is None and response.body.strip() != b"null":
            raise errors.UnreadableAnswerError(f"{request} answered an output that is not JSON")
        return value if kind == "application/json" else from_superjson(value)

    return Call(request=request, read=read)


def _store_error(request: Request, status: int, host: str) -> TriggerDevError:
    passes = may_pass(status)
    kind = errors.ServerError if status >= 500 else errors.ResponseError
    if 400 <= status < 500 and status not in (408, 425):
        kind = errors.RateLimitError if status == 429 else RejectedOutputError
    rejected = f"the object store rejected the URL of the output, which is valid for 300 s ({host})"
    detail = f"the object store {host} failed" if passes else rejected
    return error_of(kind, request, status, detail, retryable=passes)


_NO_OUTPUT = "No output of %s: the task returned nothing, or too much for a server without an object store"
_REFERENCE = (
    "%s: XCom gets a reference in its place; TriggerDevHook.get_output(run_id) returns up to 16 MB, and "
    "TriggerDevHook.get_run(run_id).output_url leads to a larger one"
)
# How much longer than an output what is stored for it may be, and the answer of a store that has an error.
_AROUND = 64 * 1024


class RejectedOutputError(errors.ResponseError):
    """The object store answered 4xx: for what is gone, S3 answers 403 to a key that must not list (read)."""


class OutputTooLargeError(TriggerDevError):
    """
    The output of a run is larger than what is read.

    :param run_id: the run
    :param size: how many the output has, None where the object store did not say
    """

    def __init__(self, run_id: str, *, limit: int, size: int | None) -> None:
        has = "more bytes" if size is None else f"{size} bytes, more"
        super().__init__(
            f"The output of run {run_id} has {has} than the {limit // 1024 // 1024} MB that are read; "
            f"download it from TriggerDevHook.get_run({run_id!r}).output_url, which is valid for 300 s"
        )
        self.run_id = run_id
        self.size = size


class InvalidOutputError(TriggerDevError):
    """An output is not JSON, although Python reads it: no XCom can have it."""


def _size_of(output: Any, run_id: str) -> int:
    try:
        return len(encode_json(output))
    except ValueError:
        text = f"The output of run {run_id} is not JSON: it has NaN, or a number above 1.8e308"
        raise InvalidOutputError(f"{text}; correct what its Trigger.dev task returns") from None


def output_of(run: Run, client: TriggerDevClient, *, log: Log, limit: int = MAX_BODY_BYTES) -> Any:
    """
    Return a run's output, as its check shows it: any JSON, or None where it has none.

    A large one is behind an address that is valid for 300 s (measured); it is fetched without the key, and
    not read above so many bytes.
    """
    if run.has_output:
        return run.output
    if not run.output_url:
        log.info(_NO_OUTPUT, run.id)
        return None
    try:
        return client.call(fetch_output(run.output_url, limit=limit))
    except errors.OversizeError as error:
        size = error.size
    if size is not None and limit < size <= MAX_BODY_BYTES:  # as JSON, without what is stored around it
        size += 2 if ".txt?" in run.output_url else -len('{"json":}')
    raise OutputTooLargeError(run.id, limit=min(limit, MAX_BODY_BYTES), size=size)


class Outputs:
    """The outputs for XCom: references, if all together are above ``max_size`` bytes of JSON."""

    def __init__(self, *, max_size: int) -> None:
        self.errors: dict[str, TriggerDevError] = {}  # why an output can never be fetched
        self.runs: dict[str, Run] = {}
        """The runs as they were when their outputs were fetched; of several, without what can be large."""
        self._values: dict[str, Any] = {}
        self._sizes: dict[str, int | None] = {}
        self._max_size = self._left = max_size
        self._lock = threading.Lock()

    def fetch(self, runs: Mapping[str, Run | None], client: TriggerDevClient, *, log: Log) -> None:
        """Fetch the outputs of runs that have completed, as seen so far; raise an error that may pass."""
        for _ in in_threads(partial(self._fetch, client, log, runs), list(runs), CONCURRENCY):
            pass
        missing = [run_id for run_id in runs if run_id not in self._sizes and run_id not in self.errors]
        if missing:
            log.info(_NO_OUTPUT, enumeration(missing))

    def _fetch(self, client: TriggerDevClient, log: Log, runs: Mapping[str, Run | None], run_id: str) -> None:
        try:
            run = runs[run_id]
            if run is None or not run.has_contents:
                run = client.call(ended_run(retrieve_run(run_id)))
            self.runs[run_id] = run if len(runs) == 1 else run.without_contents()
            if not run.has_output and not run.output_url:
                return
            limit = self._left + _AROUND
            try:
                output = output_of(run, client, log=log, limit=limit)
            except RejectedOutputError:  # the address may have expired
                run = client.call(ended_run(retrieve_run(run_id)))
                output = output_of(run, client, log=log, limit=limit)
            size = _size_of(output, run_id)
            self._keep(run_id, _stored(output, run_id, size, log) if size <= self._left else None, size)
        except OutputTooLargeError as error:
            self._keep(run_id, None, error.size, fits=False)
        except TriggerDevError as error:
            # A broken output is always answered with 500 (measured); a run, or its output, can be deleted.
            is_deleted = isinstance(error, errors.ResponseError) and error.status == 404
            is_useless = isinstance(error, (RejectedOutputError, InvalidOutputError))
            if not (is_internal_error(error) or is_deleted or is_useless):
                raise
            self.errors[run_id] = error

    def _keep(self, run_id: str, value: Any, size: int | None, *, fits: bool = True) -> None:
        """Count an output as soon as it is fetched: those before it may come much later."""
        with self._lock:
            self._sizes[run_id], self._values[run_id] = size, value
            self._left = max(-1, self._left - size) if fits and size is not None else -1
            if self._left < 0:
                self._values.clear()

    def for_xcom(self, run_ids: Sequence[str], *, log: Log) -> list[Any]:
        """Return what XCom gets, in the order of the runs; None for a run that has no output."""
        if self._left >= 0:
            return [self._values.get(run_id) for run_id in run_ids]
        [(first, size), *others] = self._sizes.items()
        has = f"The output of run {first} has {size or 'too many'} bytes,"
        has = f"{len(others) + 1} outputs together have" if others else has
        log.warning(_REFERENCE, f"{has} more than max_output_size={self._max_size} or 16 MB")
        return [
            _reference(run_id, self._sizes[run_id]) if run_id in self._sizes else None for run_id in run_ids
        ]


def _stored(output: Any, run_id: str, size: int, log: Log) -> Any:
    try:
        return for_xcom(output, f"The output of run {run_id}", log=log)
    except UnstorableError as error:
        log.warning(_REFERENCE, error)
    return _reference(run_id, size)


def _reference(run_id: str, size: int | None) -> dict[str, Any]:
    return {"run_id": run_id, "output_size": size}
