from __future__ import annotations

import pytest
from jinja2 import Environment

from airflow_provider_trigger.sources.templates import needs_rendering

ENV = Environment()


@pytest.mark.parametrize(
    "text", ["run_1", "", "run_1, run_2", "{ x }", "}} %} #}", "['run_1']", "% if x", "a ## b"]
)
def test_text_without_jinja_is_not_rendered(text: str) -> None:
    assert not needs_rendering(text, ENV, template_ext=())


@pytest.mark.parametrize("text", ["{{ x }}", "run_{{ x }}", "{% set x = 1 %}", "{# a comment #}", "run_1 {{"])
def test_text_with_jinja_is_rendered(text: str) -> None:
    assert needs_rendering(text, ENV, template_ext=())


@pytest.mark.parametrize("value", [["run_1"], {"id": "run_1"}, None, 7, object()])
def test_what_is_not_text_is_left_to_airflow(value: object) -> None:
    assert needs_rendering(value, ENV, template_ext=())


def test_without_an_environment_airflow_decides() -> None:
    assert needs_rendering("run_1", None, template_ext=())


def test_the_name_of_a_file_that_holds_a_template_is_rendered() -> None:
    assert needs_rendering("ids.json", ENV, template_ext=[".txt", ".json"])
    assert not needs_rendering("ids.csv", ENV, template_ext=[".txt", ".json"])


@pytest.mark.parametrize(
    ("env", "text"),
    [
        (Environment(variable_start_string="<<", variable_end_string=">>"), "<< x >>"),
        (Environment(block_start_string="<%", block_end_string="%>"), "<% if x %>"),
        (Environment(comment_start_string="<#", comment_end_string="#>"), "<# a comment #>"),
        (Environment(line_statement_prefix="%"), "% if x"),
        (Environment(line_comment_prefix="##"), "run_1 ## a comment"),
    ],
)
def test_what_begins_jinja_in_this_environment_counts(env: Environment, text: str) -> None:
    assert needs_rendering(text, env, template_ext=())
    assert not needs_rendering(text, ENV, template_ext=())
