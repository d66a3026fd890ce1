"""
The structure of the package: who may import whom, and how long files may become.

The code is only parsed. Imports in functions and those for type checkers count like all others.
"""

from __future__ import annotations

import ast
import gc
import tokenize
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "airflow_provider_trigger"
TESTING = f"{PACKAGE}.testing"

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 45
MAX_CLASS_LINES = 250

FILES = sorted((ROOT / PACKAGE).rglob("*.py"))
OTHER_FOLDERS = ("benchmarks", "demo", "docs", "example_dags", "scripts")
ALL_FILES = FILES + [path for name in OTHER_FOLDERS for path in sorted((ROOT / name).rglob("*.py"))]

# These know nothing of Airflow, so that they can be used and tested without it.
WITHOUT_AIRFLOW = (
    "api",
    "cancel",
    "defaults",
    "log",
    "report",
    "rules",
    "run",
    "sources.run_ids",
    "testing",
    "threads",
    "tokens",
    "triggers.follower",
)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


@cache
def tree_of(path: Path) -> ast.Module:
    # Garbage of other tests that logs an error parses code for it, within which Python 3.11 cannot parse.
    gc.disable()
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    finally:
        gc.enable()


def imports_of(path: Path, nodes: Iterator[ast.AST] | None = None) -> Iterator[str]:
    """Yield what a file imports: full names of modules, or of what is in them."""
    for node in nodes or ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # A relative import counts from the file's folder.
            folders = path.relative_to(ROOT).parent.parts
            parts = folders[: len(folders) + 1 - node.level] if node.level else ()
            base = ".".join([*parts, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@cache
def imported_modules(module: str) -> frozenset[str]:
    """Return the modules of this package that a module imports."""
    names = [name for name in imports_of(MODULES[module]) if is_in(name, PACKAGE)]
    return frozenset(name if name in MODULES else name.rpartition(".")[0] for name in names) - {module}


def part_of(module: str) -> str:
    """Return the first name below the package; of the package itself, ``__init__``."""
    return module.split(".")[1] if "." in module else "__init__"


# A part imports only parts that come after it, and any may read the version.
ORDER = (
    "sensors",
    "operators",
    "notifications",
    "triggers",
    "hooks",
    "failures",
    "report",
    "sources",
    "tokens",
    "run",
    "cancel",
    "links",
    "exceptions",
    "_compat",
    "threads",
    "api",
    "get_provider_info",
    "rules",
    "defaults",
    "log",
    "testing",
)


def test_parts_import_only_downwards() -> None:
    assert {part_of(module) for module in MODULES} == {"__init__", *ORDER}
    for module in MODULES:
        below = ORDER[ORDER.index(part_of(module)) :] if part_of(module) in ORDER else ()
        for name in imported_modules(module):
            assert part_of(name) in (*below, "__init__"), f"{module} imports {name}"


def test_no_wait_has_a_time_limit_that_a_signal_handler_can_take_away() -> None:
    # Before Python 3.13, such a wait on a SimpleQueue never ends where a handler takes longer (measured).
    assert not [path for path in FILES if "SimpleQueue" in path.read_text(encoding="utf-8")]


def test_no_import_cycle() -> None:
    try:
        list(TopologicalSorter({module: imported_modules(module) for module in MODULES}).static_order())
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("part", WITHOUT_AIRFLOW)
def test_part_does_not_import_airflow(part: str) -> None:
    modules = [module for module in MODULES if is_in(module, f"{PACKAGE}.{part}")]
    assert modules
    for module in modules:
        assert not [name for name in imports_of(MODULES[module]) if is_in(name, "airflow")], module


def nodes_at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those that only type checkers see."""
    yield node
    for child in ast.iter_child_nodes(node):
        if (
            isinstance(child, ast.If)
            and isinstance(child.test, ast.Name)
            and child.test.id == "TYPE_CHECKING"
        ):
            continue
        yield from nodes_at_run_time(child)


def test_only_compat_imports_airflow_at_run_time() -> None:
    importing = {
        module
        for module, path in MODULES.items()
        if any(is_in(name, "airflow") for name in imports_of(path, nodes_at_run_time(tree_of(path))))
    }
    assert {part_of(module) for module in importing} == {"_compat"}


def test_only_tests_demo_and_benchmarks_import_the_local_server() -> None:
    importing = {path for path in ALL_FILES if any(is_in(name, TESTING) for name in imports_of(path))}
    outside = {path.relative_to(ROOT).parts[0] for path in importing if not is_in(module_of(path), TESTING)}
    assert outside == {"benchmarks", "demo"}


def test_the_local_server_shares_no_code_with_the_client() -> None:
    for module in MODULES:
        if is_in(module, TESTING):
            assert all(is_in(name, TESTING) for name in imported_modules(module)), module


NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def lines_of_code(path: Path) -> frozenset[int]:
    """Return the numbers of the lines that are neither blank nor a comment nor part of a docstring."""
    with tokenize.open(path) as file:
        tokens = [token for token in tokenize.generate_tokens(file.readline) if token.type not in NO_CODE]
    texts = {
        line
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    return frozenset(line for token in tokens for line in range(token.start[0], token.end[0] + 1)) - texts


def length_of(path: Path, definition: Definition) -> int:
    """Return how many lines of code the body of a function or class has."""
    assert definition.end_lineno
    return len(lines_of_code(path) & set(range(definition.body[0].lineno, definition.end_lineno + 1)))


def definitions_above(lines: int, *, classes: bool) -> dict[str, int]:
    return {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": length_of(path, node)
        for path in ALL_FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, Definition)
        and isinstance(node, ast.ClassDef) == classes
        and length_of(path, node) > lines
    }


def test_files_are_short() -> None:
    lengths = {str(path.relative_to(ROOT)): len(lines_of_code(path)) for path in ALL_FILES}
    assert {path: length for path, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_functions_are_short() -> None:
    assert definitions_above(MAX_FUNCTION_LINES, classes=False) == {}


def test_classes_are_short() -> None:
    assert definitions_above(MAX_CLASS_LINES, classes=True) == {}
