"""Files of tasks for the command line: what they define, and what is said about an invalid one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_clock import Clock

from airflow_provider_trigger.testing import TriggerDevServer
from airflow_provider_trigger.testing.__main__ import TaskFileError, add_tasks

Add = Callable[[str], list[str]]


@pytest.fixture
def add(server: TriggerDevServer, tmp_path: Path) -> Add:
    """Let the server have the tasks of a file."""

    def write(source: str) -> list[str]:
        file = tmp_path / "tasks.py"
        file.write_text(source)
        return add_tasks(server, str(file))

    return write


def test_functions_and_arguments_of_on_task(server: TriggerDevServer, clock: Clock, add: Add) -> None:
    identifiers = add(
        "import math\n\n"
        "def resize(payload):\n    return {'width': math.floor(payload['width'] / 2)}\n\n"
        "tasks = {'resize-image': resize, 'train': {'after': 60, 'output': 'a model'},\n"
        "         'broken': {'error': 'no such file'}}\n"
    )
    assert identifiers == ["resize-image", "train", "broken"]
    runs = [server.trigger(name, payload={"width": 5})[0] for name in (*identifiers, "other")]
    clock.now += 59
    assert [run.status for run in runs] == ["COMPLETED", "EXECUTING", "FAILED", "COMPLETED"]
    clock.now += 2
    assert [runs[0].output, runs[1].output, runs[3].output] == [{"width": 2}, "a model", {"width": 5}]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("", "tasks.py does not define tasks; write, for example:"),
        ("tasks = [1]", "tasks.py defines tasks=[1], which is not a dict; write, for example:"),
        ("tasks = {1: print}", "tasks.py: tasks[1]: not a valid identifier, must be a text; write"),
        ("tasks = {'a': 5}", "tasks.py: tasks['a']: not a valid task, must be a function, or a dict with"),
        ("tasks = {'a': {'times': 1}}", "tasks.py: tasks['a']: not a valid task"),
        ("tasks = {'a': {'outptu': 1}}", "tasks['a']: unexpected keyword argument 'outptu'"),
        ("tasks = {'a': {'after': '1m'}}", "tasks['a']: after='1m': must be a number of seconds, at least 0"),
        ("import math\nmath.nothing", "tasks.py, line 2: AttributeError: module 'math' has no attribute"),
        ("def f(:\n    pass", "tasks.py, line 1: SyntaxError: "),
        ("\nimport no_such_module", "tasks.py, line 2: ModuleNotFoundError: No module named"),
    ],
)
def test_an_invalid_file_says_what_to_write(add: Add, source: str, said: str) -> None:
    with pytest.raises(TaskFileError) as raised:
        add(source)
    assert said in str(raised.value)


def test_a_file_that_does_not_exist_is_named(server: TriggerDevServer, tmp_path: Path) -> None:
    with pytest.raises(TaskFileError) as raised:
        add_tasks(server, str(tmp_path / "none.py"))
    assert f"{tmp_path}/none.py: there is no such file; write, for example:" in str(raised.value)
