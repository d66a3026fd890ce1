"""The page of a run, where the links of a client lead: what the real server's dashboard shows, in short."""

from __future__ import annotations

import json
from html import escape

from starlette.requests import Request
from starlette.responses import Response

from ..answers import HTML, html_answer, plain_answer, unexpected_method
from ..engine.engine import Engine
from ..engine.runs import ServerRun
from ..engine.server_time import moment
from ..engine.settings import UNSET
from .views import show_time

PAGES = "/runs/"
_LONGEST = 20_000
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">{refresh}<title>{run_id}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
th {{ text-align: left; vertical-align: top; padding-right: 2em; white-space: nowrap }}
pre {{ background: #f4f4f4; padding: .5em 1em; margin: 0 0 .5em }}
pre {{ white-space: pre-wrap; overflow-wrap: anywhere }}
</style></head><body><h1>{run_id}</h1><p>A run of the local Trigger.dev server.</p>
<table>{rows}</table></body></html>"""


def answer_page(engine: Engine, request: Request, run_id: str) -> Response:
    """Answer with the page of a run. It needs no key, since a browser sends none."""
    if request.method not in ("GET", "HEAD"):
        return unexpected_method(status=405)
    run = engine.runs.get(run_id)
    if run is None:
        return html_answer(f"No run has the id {escape(run_id)}", status=404)
    return plain_answer(_page(run), HTML, status=200)


def _page(run: ServerRun) -> str:
    life = run.life
    state = life.state
    times = {
        "Created": state.created_at,
        "Delayed until": state.delayed_until,
        "Started": state.started_at,
        "Finished": state.finished_at,
    }
    lines = {
        "Status": state.status,
        "Task": run.task_identifier,
        "Environment": run.environment.name,
        "Tags": ", ".join(run.tags),
        **{name: show_time(moment) for name, moment in times.items() if moment is not None},
        "Attempts": state.attempt_count,
    }
    values = {"Payload": run.payload, "Output": state.output}
    values |= {} if run.metadata is None else {"Metadata": run.metadata}
    blocks = {
        name: json.dumps(value, indent=2, ensure_ascii=False)
        for name, value in values.items()
        if value is not UNSET
    }
    if run.log_lines:
        shown = (f"{show_time(moment(line.at))} {line.level} {line.text}" for line in run.log_lines)
        blocks["Log"] = "\n".join(shown)
    if state.error is not None:
        blocks["Error"] = state.error.get("stackTrace") or state.error["message"]
    rows = [_row(name, escape(str(value))) for name, value in lines.items() if value != ""]
    rows += [_row(name, f"<pre>{escape(_cut(text))}</pre>") for name, text in blocks.items()]
    # A page of a run that can still change is loaded again every 2 s.
    refresh = "" if life.terminated else '<meta http-equiv="refresh" content="2">'
    return _PAGE.format(run_id=escape(run.id), refresh=refresh, rows="".join(rows))


def _row(name: str, html: str) -> str:
    return f"<tr><th>{name}</th><td>{html}</td></tr>"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
