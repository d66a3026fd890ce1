"""Check arguments that are templated: as given when the Dag is parsed, and as rendered when the task runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_trigger._compat import AirflowFailException
from airflow_provider_trigger._compat.task_instances import read_sequence
from airflow_provider_trigger.rules import Circumstances, naming
from airflow_provider_trigger.sources.run_ids import SEQUENCE_TEXT
from airflow_provider_trigger.validation import (
    TakesArguments,
    arguments_of,
    contents,
    holds_templated,
    is_templated,
    owner_of,
)


def with_lists(value: Any) -> Any:
    """Return a value with lists in place of Airflow's own sequences, such as a mapped task's output."""
    if isinstance(value, dict):
        return {key: with_lists(part) for key, part in value.items()}
    found = read_sequence(value)
    return [with_lists(part) for part in found] if isinstance(found, (list, tuple)) else found


def check_sequence_texts(name: str, value: Any) -> None:
    """Check that no template has turned the outputs of a mapped task into the name of a Python object."""
    for text in contents(value):
        if isinstance(text, str) and (found := SEQUENCE_TEXT.search(text)):
            raise ValueError(
                f"{name} must not contain {found[0]!r}, which is what the template made of a mapped "
                "task's outputs. Give the task's .output in place of the template, or set "
                "render_template_as_native_obj=True on the Dag"
            )


_NONE_TEXT = (
    "The template %r rendered to the text 'None': it found nothing, or a task returned None. Check the task "
    "ids and the key in it; a task's .output in its place gives None itself"
)


class ChecksRendered(TakesArguments):
    """Check templated arguments twice; a subclass says how."""

    rendered_arguments: ClassVar[dict[str, str]]
    """All that can be templated but the connection: the attribute of each argument."""
    _tags_of_ours: ClassVar[int] = 0

    if TYPE_CHECKING:
        log: Any

    def render_template(self, content: Any, context: Any, jinja_env: Any = None, *args: Any) -> Any:
        """Render a value; a warning names a template of which the text ``None`` became."""
        found = super().render_template(content, context, jinja_env, *args)
        if is_templated(content) and isinstance(found, str) and found.strip() == str(None):
            self.log.warning(_NONE_TEXT, content)
        return found

    def _check(self, when: Circumstances) -> None:
        """Check what the server would reject, or ignore without a word."""
        raise NotImplementedError

    def _check_given(self) -> None:
        """Check the arguments as they are when the Dag is parsed, and keep those with templates."""
        with arguments_of(self):
            self._check(Circumstances(skip=is_templated, tags_of_ours=self._tags_of_ours))
        self._as_given = {name: value for name, value in self._rendered.items() if holds_templated(value)}

    @property
    def _rendered(self) -> dict[str, Any]:
        return {name: getattr(self, attribute) for name, attribute in self.rendered_arguments.items()}

    def _check_rendered(self, *, is_retry: bool = False) -> Circumstances:
        """Check what templates and other tasks' outputs have become; a failure is one for good."""
        # A time that was to come in the first try may have passed: the run starts at once then (measured).
        earliest = datetime.min.replace(tzinfo=UTC) if is_retry else None
        when = Circumstances(now=earliest, tags_of_ours=self._tags_of_ours, is_rendered=True)
        for attribute in self.rendered_arguments.values():
            setattr(self, attribute, with_lists(getattr(self, attribute)))
        with naming(owner_of(self), AirflowFailException):
            for name, value in self._rendered.items():
                check_sequence_texts(name, value)
            self._check(when)
        return when
