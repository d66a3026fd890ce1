"""Read the Python file that says what the tasks of the local server do."""

from __future__ import annotations

import runpy
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .server import TriggerDevServer

_HOW = """write, for example:

def resize(payload):
    return {"width": payload["width"] // 2}

tasks = {"resize-image": resize, "train-model": {"after": 60, "output": "a model"}}"""


class TaskFileError(Exception):
    """A file of tasks that cannot be used; its text says what to write."""


def add_tasks(server: TriggerDevServer, path: str) -> list[str]:
    """
    Let a server have the tasks of a file, and return their identifiers.

    The file defines ``tasks``, a dict. Its keys are the identifiers. Its values are functions that are called
    with the payload and return the output, or dicts with the arguments of :meth:`TriggerDevServer.on_task`.

    :raises TaskFileError: it cannot be used
    """
    tasks = _run(path).get("tasks")
    if not isinstance(tasks, dict):
        found = "does not define tasks" if tasks is None else f"defines tasks={tasks!r}, which is not a dict"
        raise TaskFileError(f"{path} {found}; {_HOW}")
    for identifier, task in tasks.items():
        try:
            server.on_task(_checked(identifier), **_behavior(task))
        except TypeError as error:
            text = str(error).replace("TaskScript.__init__() got an ", "")
            raise TaskFileError(f"{path}: tasks[{identifier!r}]: {text}; {_HOW}") from None
    return list(tasks)


def _run(path: str) -> Mapping[str, Any]:
    if not Path(path).is_file():
        raise TaskFileError(f"{path}: there is no such file; {_HOW}")
    try:
        return runpy.run_path(path)
    except Exception as error:  # whatever the file raises is its author's to see
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == path]
        line = error.lineno if isinstance(error, SyntaxError) else (lines[-1] if lines else None)
        place = path if line is None else f"{path}, line {line}"
        raise TaskFileError(f"{place}: {type(error).__name__}: {error}") from None


def _checked(identifier: object) -> str:
    if not isinstance(identifier, str) or not identifier:
        raise TypeError("not a valid identifier, must be a text")
    return identifier


def _behavior(task: Callable[[Any], Any] | dict[str, Any] | object) -> Any:
    if callable(task):
        return {"output": task}
    if isinstance(task, dict) and "times" not in task:
        return task
    raise TypeError("not a valid task, must be a function, or a dict with arguments of on_task, but times")
