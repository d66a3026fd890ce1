"""
Change the code in a copy, run the unit tests on each change, and print the changes that no test notices.

usage: scripts/mutants.py [FILE...]

mutmut makes the changes, called mutants, in a temporary copy of the code; the checkout stays as it is.
Without a FILE it mutates the modules that only decide and compute: their tests say what each change does.
A mutant is tested by those tests of the same folder in tests/unit that call the changed function.

mutmut leaves out tables and constants outside of functions, and functions with a decorator, such as
properties. Equivalent mutants are not reported: those of a kind that ``_NO_DIFFERENCE`` knows, and those that
tests/equivalent_mutants.toml lists, with reasons.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGE = "airflow_provider_trigger"
EQUIVALENT = "tests/equivalent_mutants.toml"

MUTATED = tuple(
    f"{PACKAGE}/{module}.py"
    for module in (
        "api/limits",
        "api/statuses",
        "cancel/record",
        "rules",
        "run/identity",
        "sources/run_ids",
    )
)
COPIED = (
    PACKAGE,
    "tests/conftest.py",
    "tests/fakes",
    "tests/integration/helpers",
    "tests/unit",
    "tests/world",
    "pyproject.toml",
)

# The same random examples for each mutant, and nothing written between two of them.
PYTEST_OPTIONS = ("--hypothesis-seed=0", "-p", "no:cacheprovider")

# More than processors, as the tests wait more than they compute.
WORKERS = 8

# Lines that are the same after these substitutions do the same.
_NO_DIFFERENCE: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    # The type in a typing.cast does nothing at run time.
    (re.compile(r"(\bcast\()[^,]*,"), r"\1"),
    # Of what is named like a boolean only the truth is read, and True in the place of False is tested, too.
    (re.compile(r"(\b(?:_|\w+_)?(?:are|has|is|may|was)_\w+(?:: bool)? ?= ?)(?:False|None)\b"), r"\1"),
    # An encoding's name may have any case.
    (re.compile(r"\b(?:de|en)code\(\"[^\"]*\""), lambda found: found[0].lower()),
    # tenacity only keeps what it was called with.
    (re.compile(r"(\bsuper\(\)\.__init__\()\w+, fn=None, args=.+, kwargs=.+\)"), r"\1"),
)

# Python 3.11 sometimes crashes (SIGSEGV) in the first run of the tests, which is without a mutant.
_TRIES = 4

# Two words and a blank between them.
_SENTENCE = re.compile(r"\w\W* \W*\w")


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """
    One change, and what became of it.

    :param file: the changed file, relative to the checkout
    :param line: where the change begins
    :param function: with its class
    :param diff: the lines that were removed (``-``) and added (``+``)
    :param status: in mutmut's words
    """

    file: str
    line: int
    function: str
    diff: tuple[str, ...]
    status: str

    @property
    def key(self) -> tuple[str, str, tuple[str, ...]]:
        """What identifies the change while lines around it move."""
        return self.file, self.function, _without_indentation(self.diff)

    @property
    def makes_no_difference(self) -> bool:
        """Whether the code does the same, by its kind of change."""
        return len(self.diff) == 2 and len({_without_differences(line[1:]) for line in self.diff}) == 1

    @property
    def is_wording(self) -> bool:
        """Whether only a sentence's letters changed: tests compare the words that matter, not each letter."""
        if [line[0] for line in self.diff] != ["-", "+"]:
            return False
        old, new = (line[1:] for line in self.diff)
        if old.lower() != new.replace("XX", "").lower():
            return False
        start = _same_at_start(old, new)
        end = max(start, len(old) - _same_at_start(old[::-1], new[::-1]))
        # The literal reaches from one quotation mark to the next.
        before, after = re.split(r"[\"']", old[:start])[-1], re.split(r"[\"']", old[end:])[0]
        text = before + old[start:end] + after
        return bool(_SENTENCE.search(text))


def _same_at_start(first: str, second: str) -> int:
    """Return how many characters at their start are the same."""
    pairs = zip(first, second, strict=False)
    return next(
        (index for index, (one, other) in enumerate(pairs) if one != other), min(len(first), len(second))
    )


def _without_differences(line: str) -> str:
    for pattern, replacement in _NO_DIFFERENCE:
        line = pattern.sub(replacement, line)
    return line


def _without_indentation(diff: Sequence[str]) -> tuple[str, ...]:
    return tuple(line[0] + line[1:].strip() for line in diff)


def main(arguments: Sequence[str]) -> int:
    """
    Mutate, test and report.

    :param arguments: the files to mutate; none for all of ``MUTATED``
    """
    files = [str(Path(name)) for name in arguments] or list(MUTATED)
    if unknown := [name for name in files if not (CHECKOUT / name).is_file()]:
        print("error: no such file:", *unknown, file=sys.stderr)
        return 2
    found: list[Mutant] = []
    for _, group in groupby(sorted(files), key=_tests):
        with TemporaryDirectory(prefix="mutants-") as copy:
            tested = list(group)
            _copy(Path(copy))
            _configure(Path(copy), tested)
            os.chdir(copy)  # where mutmut looks for its configuration, also when it is imported
            if not _run():
                print(
                    "error: the tests do not pass without a mutant, or mutmut failed; see above",
                    file=sys.stderr,
                )
                return 1
            found += _mutants(tested)
    return _report(found, files)


def _tests(file: str) -> str:
    """Return where the tests of a file are: a folder of tests/unit, or a file in it."""
    first, *others = Path(file).relative_to(PACKAGE).parts
    return f"tests/unit/{first}" if others else f"tests/unit/test_{first}"


def _copy(directory: Path) -> None:
    for name in COPIED:
        source, target = CHECKOUT / name, directory / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def _configure(directory: Path, files: Sequence[str]) -> None:
    options = {
        "source_paths": [PACKAGE],
        "only_mutate": files,
        "pytest_add_cli_args_test_selection": [_tests(files[0])],
        "pytest_add_cli_args": PYTEST_OPTIONS,
        "timeout_multiplier": [5],
        "use_git_change_detection": ["false"],
    }
    # A process that is forked from one that has run tests lacks its threads, and hangs as if by the mutant.
    lines = ["[mutmut]", "process_isolation = forkserver"]
    for name, values in options.items():
        lines += [f"{name} =", *(f"    {value}" for value in values)]
    (directory / "setup.cfg").write_text("\n".join(lines), encoding="utf-8")


def _run() -> bool:
    """Run mutmut; return whether it has tested all mutants."""
    command = [str(Path(sys.executable).with_name("mutmut")), "run", f"--max-children={WORKERS}"]
    return any(subprocess.run(command, check=False).returncode == 0 for _ in range(_TRIES))


def _mutants(files: Sequence[str]) -> Iterator[Mutant]:
    from mutmut.mutation.data import SourceFileMutationData
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    for file in files:
        data = SourceFileMutationData(path=file)
        data.load()
        for name, code in data.exit_code_by_key.items():
            function, class_name = orig_function_and_class_names_from_key(name)
            qualified = f"{class_name}.{function}" if class_name else function
            diff = get_diff_for_mutant(name, path=file).splitlines()
            yield Mutant(
                file=file,
                line=_line(file, qualified, diff),
                function=qualified,
                diff=tuple(line for line in diff[2:] if line[0] in "-+"),
                status=status_by_exit_code[code],
            )


def _line(file: str, function: str, diff: Sequence[str]) -> int:
    """Return the line of the file that the first removed line of a function's diff is."""
    tree = ast.parse(Path(file).read_text(encoding="utf-8"))
    found: ast.AST = tree
    for name in function.split("."):
        found = next(node for node in ast.iter_child_nodes(found) if getattr(node, "name", None) == name)
    assert isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef))
    offset = 0
    for line in diff[2:]:
        if match := re.match(r"@@ -(\d+)", line):
            offset = int(match[1]) - 1
        elif line[0] == "-":
            break
        else:
            offset += 1
    return found.lineno + offset


def _report(mutants: Sequence[Mutant], files: Sequence[str]) -> int:
    known = _known(files)
    killed = Counter(mutant.status for mutant in mutants if mutant.status in ("killed", "timeout"))
    alive = [mutant for mutant in mutants if mutant.status not in killed]
    wording = [mutant for mutant in alive if mutant.is_wording]
    equivalent = [mutant for mutant in alive if mutant.makes_no_difference or mutant.key in known]
    survivors = [mutant for mutant in alive if mutant not in wording and mutant not in equivalent]
    for mutant in sorted(survivors, key=lambda mutant: (mutant.file, mutant.line)):
        print(f"\n{mutant.file}:{mutant.line} {mutant.function} ({mutant.status})", *mutant.diff, sep="\n")
    stale = known - {mutant.key for mutant in alive}
    for file, function, diff in sorted(stale):
        print(f"\n{EQUIVALENT} lists what does not survive: {file} {function}", *diff, sep="\n")
    print(
        f"\n{len(mutants)} mutants: {killed.total()} killed ({killed['timeout']} by a timeout), "
        f"{len(equivalent)} equivalent, {len(wording)} only in a message's wording, {len(survivors)} survived"
    )
    return 1 if survivors or stale else 0


def _known(files: Sequence[str]) -> set[tuple[str, str, tuple[str, ...]]]:
    entries = tomllib.loads((CHECKOUT / EQUIVALENT).read_text(encoding="utf-8")).get("mutant", [])
    for entry in entries:
        assert entry["reason"], entry
        assert entry["file"] in MUTATED, entry
    return {
        (entry["file"], entry["function"], _without_indentation(entry["diff"].strip("\n").splitlines()))
        for entry in entries
        if entry["file"] in files
    }


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
