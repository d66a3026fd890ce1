from __future__ import annotations

from typing import Any

import pytest
from jinja2 import Environment

from airflow_provider_trigger.sources.templates import RendersTemplatesOnly, needs_rendering

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


# In an operator or a notifier


class AirflowsTemplater:
    """Keeps what it is to render, as Airflow's class gets it."""

    template_ext = (".json",)

    def __init__(self) -> None:
        self.rendered: list[tuple[Any, ...]] = []

    def render_template(self, content: Any, context: Any, jinja_env: Any = None, *args: Any) -> Any:
        self.rendered.append((content, context, jinja_env, *args))
        return "rendered"


class Templater(RendersTemplatesOnly, AirflowsTemplater):
    template_ext = AirflowsTemplater.template_ext


@pytest.mark.parametrize("content", ["{{ run_id }}", "ids.json", ["run_1"], None])
def test_airflow_renders_what_may_hold_jinja_with_all_that_it_was_given(content: object) -> None:
    templater, context, seen = Templater(), {"run_id": "run_1"}, {1}
    assert templater.render_template(content, context, ENV, seen) == "rendered"
    assert templater.rendered == [(content, context, ENV, seen)]


@pytest.mark.parametrize("content", ["run_1", "", "ids.csv"])
def test_airflow_does_not_see_text_without_jinja(content: str) -> None:
    templater = Templater()
    assert templater.render_template(content, {}, ENV) == content
    assert templater.rendered == []


def test_jinja_is_what_the_environment_says() -> None:
    templater, env = Templater(), Environment(variable_start_string="<<", variable_end_string=">>")
    assert templater.render_template("{{ run_id }}", {}, env) == "{{ run_id }}"
    assert templater.render_template("<< run_id >>", {}, env) == "rendered"


def test_airflow_renders_all_where_no_environment_is_given() -> None:
    templater = Templater()
    assert templater.render_template("run_1", {}) == "rendered"
    assert templater.rendered == [("run_1", {}, None)]
