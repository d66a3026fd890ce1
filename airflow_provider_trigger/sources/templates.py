"""Decide which values of templated fields Jinja has to render."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


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
