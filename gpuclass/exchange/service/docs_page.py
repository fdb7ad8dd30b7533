"""The OpenAPI description as one plain page: no script, nothing from elsewhere, so it works without internet."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { border-bottom: 1px solid #ccc; margin-top: 2.5rem } code { background: #f3f3f3; padding: 0 .2rem }
b { display: inline-block; width: 5rem } dt { margin-top: 1rem } li { margin: 0 }
"""


def render(api: dict[str, Any]) -> str:
    """An HTML page for an OpenAPI description."""
    title = escape(api["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title} {escape(api['info']['version'])}</h1><p>{escape(api['info']['description'])} "
        'As data: <a href="openapi.json">openapi.json</a>.</p><p>Every request carries '
        "<code>Authorization: token …</code> with the JupyterHub token of a user's server.</p>"
        f"{''.join(_groups(api))}</html>"
    )


def _groups(api: dict[str, Any]) -> Iterator[str]:
    calls = [(path, method, call) for path, methods in api["paths"].items() for method, call in methods.items()]
    for tag in dict.fromkeys(call["tags"][0] for _, _, call in calls):
        yield f"<h2>{escape(tag)}</h2><dl>"
        for path, method, call in calls:
            if call["tags"][0] == tag:
                yield f"<dt><b>{method.upper()}</b> <code>{escape(path)}</code></dt>"
                yield f"<dd>{escape(call.get('description', ''))}{_fields(call)}{_answers(call)}</dd>"
        yield "</dl>"


def _fields(call: dict[str, Any]) -> str:
    fields = {item["name"]: item.get("description", "") for item in call.get("parameters", []) if item["in"] == "query"}
    for content in call.get("requestBody", {}).get("content", {}).values():
        fields |= {name: item.get("description", "") for name, item in content["schema"]["properties"].items()}
    items = "".join(f"<li><code>{escape(name)}</code> {escape(text)}</li>" for name, text in fields.items())
    return f"<ul>{items}</ul>" if items else ""


def _answers(call: dict[str, Any]) -> str:
    """What it answers; a description may leave that out."""
    answers = call.get("responses", {})
    good = escape(answers.get("200", {}).get("description", ""))
    others = ", ".join(escape(status) for status in answers if status != "200")
    return f"<p>200: {good} Else {others}.</p>" if answers else ""
