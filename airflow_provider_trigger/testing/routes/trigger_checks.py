"""What a server cannot trigger, although the request is a valid one."""

from __future__ import annotations

from typing import Any

from ..engine.engine import Engine
from ..engine.packets import payload_packet
from .json_body import InvalidBodyError
from .trigger_request import TriggerRequest


def check_triggerable(engine: Engine, wanted: TriggerRequest) -> None:
    """
    Check what depends on what the server has.

    :raises InvalidBodyError: it does not have what the request needs
    """
    version = wanted.options.get("lockToVersion")
    if version is not None and not engine.worker.has_version(version):
        raise InvalidBodyError("Something went wrong", status=500)
    region = wanted.options.get("region")
    if region in engine.unknown_regions:
        raise InvalidBodyError(f'The region you specified doesn\'t exist ("{region}").', status=422)
    check_size(engine, wanted.payload)


def check_size(engine: Engine, payload: Any) -> None:
    """
    Check that a payload, or the items of a batch as a whole, can be stored.

    :raises InvalidBodyError: it is large, and the server has no object store
    """
    if not engine.object_store and payload_packet(payload) is not None:
        raise InvalidBodyError("Failed to upload large payload to object store", status=500)
