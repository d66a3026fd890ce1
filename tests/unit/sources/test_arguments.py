"""What an operator, a sensor and a notifier share: how their sources are kept, rendered and read."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import jinja2
import pytest
from fake_airflow import TaskInstance
from jinja2 import Environment

from airflow_provider_trigger._compat import INIT_ARGUMENTS, BaseOperator
from airflow_provider_trigger.notifications.cancel import CancelTriggerRunNotifier
from airflow_provider_trigger.operators.cancel import CancelTriggerRunOperator
from airflow_provider_trigger.sensors.run import TriggerRunSensor
from airflow_provider_trigger.sources.arguments import TakesRunIds, needs_rendering
from airflow_provider_trigger.sources.run_ids import RunIds
from airflow_provider_trigger.sources.search_terms import Selection

try:
    from airflow.sdk import DAG
except ImportError:  # 2.11
    from airflow.models.dag import DAG

ENV = Environment()
TASKS: list[Any] = [CancelTriggerRunOperator, TriggerRunSensor]
KINDS: list[Any] = [*TASKS, CancelTriggerRunNotifier]


def made(kind: Any, **arguments: Any) -> Any:
    return kind(**arguments, **({"task_id": "work"} if kind in TASKS else {}))


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keep which texts Jinja compiles."""
    texts: list[str] = []
    from_string = jinja2.Environment.from_string

    def keep(self: Any, source: Any, *args: Any, **options: Any) -> Any:
        texts.append(source)
        return from_string(self, source, *args, **options)

    monkeypatch.setattr(jinja2.Environment, "from_string", keep)
    return texts


# What all of them take


@pytest.mark.parametrize("kind", KINDS)
def test_all_sources_are_templated(kind) -> None:
    template = "{{ x }}"
    given = made(
        kind,
        run_ids=["run_2", {"id": template}],
        xcom_task_ids=[template],
        xcom_key=template,
        trigger_dev_conn_id=template,
    )
    given.render_template_fields({"x": "a", "dag": None})
    assert given.run_ids == ["run_2", {"id": "a"}]
    assert (given.xcom_task_ids, given.xcom_key, given.trigger_dev_conn_id) == (["a"], "a", "a")


@pytest.mark.parametrize("kind", KINDS)
def test_very_many_run_ids_are_not_compiled_one_by_one(kind, compiled: list[str]) -> None:
    run_ids = [f"run_{number}" for number in range(20_000)]
    given = made(kind, run_ids=[*run_ids, ["{{ x }}", "{% set y = 1 %}"]], xcom_key="{# a comment #}")
    given.render_template_fields({"x": "run_x", "dag": None})
    assert given.run_ids == [*run_ids, ["run_x", ""]]
    assert compiled == ["{{ x }}", "{% set y = 1 %}", "{# a comment #}"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_iterator_is_read_once_and_the_copy_has_the_same_ids(kind) -> None:
    given = made(kind, run_ids=iter(["run_1", "run_2"]), xcom_task_ids=iter(["start"]))
    for one in (given, copy.deepcopy(given)):
        assert (one.run_ids, one.xcom_task_ids) == (["run_1", "run_2"], ["start"])


@pytest.mark.parametrize("kind", TASKS)
def test_the_default_arguments_of_a_dag_may_hold_sources(kind) -> None:
    sources: dict[str, Any] = {"run_ids": ["run_1"], "xcom_task_ids": "start", "xcom_key": "ids"}
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), default_args=sources):
        given = made(kind)
    assert {name: getattr(given, name) for name in sources} == sources


@pytest.mark.parametrize("kind", TASKS)
def test_a_mapped_task_takes_sources_by_their_names(kind) -> None:
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        mapped = kind.partial(task_id="work", xcom_task_ids="start", xcom_key="ids").expand(run_ids=["run_1"])
    assert mapped.operator_class is kind
    with pytest.raises(TypeError, match="runids"):
        kind.partial(task_id="more", runids="run_1")


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_given_is_read_and_what_else_it_held_is_logged(
    kind, keep_log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = keep_log(kind)
    ti = TaskInstance(xcoms={"start": "run_2"}, key="ids")
    given = made(kind, run_ids=["run_1", None], xcom_task_ids=["start", "other"], xcom_key="ids")
    ids = given._gather_run_ids({"ti": ti}, on_empty="ignore", origin="Dag 'd': ")
    assert ids.found == ["run_1", "run_2"]
    assert log.leveled == [
        ("info", "Dag 'd': Skipped 1 value that is None: run_ids[1]"),
        ("warning", "Dag 'd': task 'other' pushed no XCom with the key 'ids'"),
    ]


# What is rendered


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


class Templater(TakesRunIds, AirflowsTemplater):
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


# Arguments that are checked


def task(**arguments: Any) -> CancelTriggerRunOperator:
    return CancelTriggerRunOperator(task_id="work", **arguments)


def instance(**arguments: Any) -> CancelTriggerRunOperator:
    """Make what Airflow makes of a mapped task when it runs."""
    return task(_airflow_from_mapped=True, **arguments)


@pytest.mark.parametrize("task_ids", [None, [], ""])
def test_a_task_without_any_source_is_an_error_that_names_what_could_be_given(task_ids) -> None:
    sources = "one or more of run_ids, xcom_task_ids, tags, batch_ids"
    with pytest.raises(ValueError, match=f"^CancelTriggerRunOperator 'work': give {sources}$"):
        task(xcom_task_ids=task_ids)
    with pytest.raises(ValueError, match=r"^TriggerRunSensor 'work': give run_ids, or xcom_task_ids, or "):
        TriggerRunSensor(task_id="work", xcom_task_ids=task_ids)


def test_a_callback_needs_no_source() -> None:
    callback = CancelTriggerRunNotifier()
    assert (callback.run_ids, callback.xcom_task_ids) == (None, None)


def test_an_instance_of_a_mapped_task_may_get_none_in_place_of_a_source() -> None:
    assert instance(run_ids=None).run_ids is None
    assert instance(xcom_task_ids=None).xcom_task_ids is None


def test_run_ids_that_rendered_to_none_are_named_next_to_tasks(keep_log) -> None:
    log = keep_log(CancelTriggerRunOperator)
    given = task(run_ids="{{ x }}", xcom_task_ids=["start"])
    given.run_ids = None  # as rendered
    context: Any = {"ti": TaskInstance(xcoms={"start": "run_1"})}
    ids = given._gather_run_ids(context, on_empty="fail")
    assert ids.found == ["run_1"]
    [line] = log.of("error")
    assert line.startswith("run_ids is None: ")


def test_what_is_known_only_when_the_task_runs_is_not_checked_before() -> None:
    with DAG("d", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        output = BaseOperator(task_id="start").output
        given = task(tags="{{ a, b }}", batch_ids=output, max_runs=1)
    assert (given.tags, given.batch_ids, given.max_runs) == ("{{ a, b }}", output, 1)


# Arguments that select runs


def select(context: dict[str, Any] | None = None, **arguments: Any) -> tuple[Selection, list[str]]:
    """Return what rendered arguments select, and what is invalid."""
    operator = CancelTriggerRunOperator(task_id="cancel", **arguments)
    given: Any = {"dag": None} | (context or {})
    operator.render_template_fields(given)
    ids = RunIds()
    return operator._selection(ids), [str(one) for one in ids.invalid]


def test_without_tags_and_batches_nothing_is_selected() -> None:
    selection, invalid = select(run_ids=["run_1"])
    assert not selection
    assert invalid == []


def test_tags_and_batches_are_templated() -> None:
    selection, invalid = select(
        {"day": "monday", "batch": "batch_2"}, tags=["a", "{{ day }}"], batch_ids="{{ batch }}", max_runs=7
    )
    assert selection == Selection(tags=("a", "monday"), batch_ids=("batch_2",), max_runs=7)
    assert str(selection) == "tags=['a', 'monday'] and batch_ids=['batch_2']"
    assert invalid == []


def test_a_template_of_a_list_gives_all_of_it() -> None:
    selection, invalid = select({"batches": ["batch_1", "batch_2"]}, batch_ids="{{ batches }}")
    assert (selection.batch_ids, selection.tags, selection.max_runs) == (("batch_1", "batch_2"), (), 1000)
    assert str(selection) == "batch_ids=['batch_1', 'batch_2']"
    assert invalid == []


@pytest.mark.parametrize("name", ["tags", "batch_ids"])
@pytest.mark.parametrize("found", [None, "", [], "a,b"])
def test_a_template_that_finds_nothing_selects_no_runs_and_is_named(name: str, found: Any) -> None:
    selection, [problem] = select({"found": found}, **{name: "{{ found }}"})
    assert not selection
    assert f" from {name} is not a valid " in problem


def test_one_that_finds_nothing_leaves_the_other() -> None:
    selection, [problem] = select({"found": None}, tags=["{{ found }}", "a"], batch_ids="batch_1")
    assert selection == Selection(batch_ids=("batch_1",), max_runs=1000)
    assert problem == "'None' from tags is not a valid tag: a template that finds nothing renders to this"


def test_with_tags_no_run_ids_are_needed() -> None:
    operator = CancelTriggerRunOperator(task_id="cancel", tags="a")
    assert operator._gather_run_ids({}, on_empty="fail") == RunIds()


def test_an_empty_list_of_tasks_beside_tags_is_an_empty_source() -> None:
    operator = CancelTriggerRunOperator(task_id="cancel", tags="a", xcom_task_ids=[])
    context: Any = {"ti": object(), "dag": None}
    assert operator._gather_run_ids(context, on_empty="fail").empty == ["xcom_task_ids is an empty list"]


@pytest.mark.parametrize("arguments", [{}, {"tags": None, "batch_ids": None}])
def test_none_is_no_error_for_a_task_that_is_not_mapped(arguments: dict[str, Any]) -> None:
    ids = RunIds()
    assert not task(run_ids="run_1", **arguments)._selection(ids)
    assert ids == RunIds()


def test_what_a_mapped_task_was_not_given_is_no_error() -> None:
    ids = RunIds()
    assert instance(tags="a")._selection(ids) == Selection(tags=("a",), max_runs=1000)
    assert ids == RunIds()


def test_an_instance_of_which_airflow_keeps_no_arguments_selects_by_what_it_was_given() -> None:
    ids, given = RunIds(), instance(tags="a", batch_ids=None)
    delattr(given, INIT_ARGUMENTS)
    assert given._selection(ids) == Selection(tags=("a",), max_runs=1000)
    assert ids == RunIds()
