"""Why runs were not canceled, for a text about many. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from airflow_provider_trigger.cancel.outcome import CancelResult, Reason
from airflow_provider_trigger.wording import MAX_NAMED, enumeration


def failures(results: Iterable[CancelResult], *, named: int = MAX_NAMED) -> str:
    """
    Return why runs failed and which, grouped by reason, the most frequent first; each cause once.

    :param named: how many runs of a group are named
    """
    groups: dict[tuple[object, ...], list[CancelResult]] = {}
    for result in results:
        if result.request is not None:
            reasons = tuple((reason.label, _general(reason)) for reason in result.reasons)
            groups.setdefault((result.request, reasons, result.action), []).append(result)
    texts, known = [], set[str]()
    for group in sorted(groups.values(), key=len, reverse=True):
        why = _why(group[0], known)
        texts.append(f"{_counted_ids([result.run_id for result in group], named)}: {why}")
    return enumeration(texts, " | ")


def _general(reason: Reason) -> str:
    return reason.text if reason.general is None else reason.general


def _why(result: CancelResult, named: set[str]) -> str:
    """Omit the errors and actions that were named before, and note those of this result as named."""
    text = str(result.request)
    for reason in result.reasons:
        text += reason.label + ("the same error" if reason.general in named else _general(reason))
        if reason.general is not None:
            named.add(reason.general)
    if result.action and result.action not in named:
        text += f"; {result.action}"
        named.add(result.action)
    return text


def _counted_ids(run_ids: Sequence[str], named: int) -> str:
    text = enumeration(run_ids, named=named)
    return f"{len(run_ids)} runs ({text})" if len(run_ids) > MAX_NAMED else text
