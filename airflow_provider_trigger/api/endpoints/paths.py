"""Ids in the path of a URL."""

from __future__ import annotations

from urllib.parse import quote

from airflow_provider_trigger.api.errors import NotSentError


def segment(run_id: str) -> str:
    """
    Return an id as one percent-encoded segment of a path.

    :param run_id: the id
    :raises NotSentError: it cannot be one
    """
    # Dots need no encoding and decoding servers fold them: "..", alone in its segment, leaves the path.
    # A lone surrogate cannot be encoded.
    encodable = not any("\ud800" <= character <= "\udfff" for character in run_id)
    if not (encodable and run_id.strip(".")):
        raise NotSentError(f"{run_id!a} cannot be the id of a run")
    return quote(run_id, safe="")
