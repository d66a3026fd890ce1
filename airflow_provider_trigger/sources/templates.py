"""Decide which values of templated fields Jinja has to render."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


class RendersTemplatesOnly:
    """Comes before Airflow's class in the bases of an operator or a notifier that may have many run ids."""

    if TYPE_CHECKING:
        template_ext: Sequence[str]

    def render_template(self, content: Any, context: Any, jinja_env: Any = None, *args: Any) -> Any:
        """
        Render a value, unless it is text without Jinja.

        :param content: text, or a list or dict of texts
        :param context: of the task or the callback
        :param jinja_env: what to render with
        :param args: more, for Airflow's own
        """
        if needs_rendering(content, jinja_env, template_ext=self.template_ext):
            return super().render_template(content, context, jinja_env, *args)  # type: ignore[misc]
        return content


def needs_rendering(content: object, jinja_env: Environment | None, *, template_ext: Sequence[str]) -> bool:
    """
    Return whether a value has to be rendered; text without Jinja has not.

    Compiling each of 100,000 run ids as a template takes half a minute.

    :param content: text, or anything else that a templated field holds
    :param jinja_env: what it is to be rendered with, None if that is not known yet
    :param template_ext: the ends of the names of files that hold templates
    """
    if not isinstance(content, str) or jinja_env is None or content.endswith(tuple(template_ext)):
        return True
    starts = (
        jinja_env.variable_start_string,
        jinja_env.block_start_string,
        jinja_env.comment_start_string,
        jinja_env.line_statement_prefix,
        jinja_env.line_comment_prefix,
    )
    return any(start in content for start in starts if start)
