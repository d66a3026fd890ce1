"""What happens before waitpoint tokens are used: time passes until they have timed out."""

from __future__ import annotations

from typing import Any


def arrange_tokens(replay: Any) -> None:
    """Nothing has to be there: all tokens are created by the exchanges."""


def before_tokens(replay: Any, exchange: Any) -> None:
    if exchange.label in ("retrieve timed out (timeout 3s)", "retrieve after 3 s"):
        replay.now += 3
