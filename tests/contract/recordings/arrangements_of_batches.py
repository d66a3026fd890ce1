"""What has to be on the server before the batches are replayed."""

from __future__ import annotations

from typing import Any

from arrangements_of_starts import AT_ONCE


def arrange_small_batches(replay: Any) -> None:
    replay.server.on_task("hello-task", start_after=None)


def arrange_batches(replay: Any) -> None:
    replay.server.on_task("job", **AT_ONCE)
