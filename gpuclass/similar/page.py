"""The list of similar pairs: as a page to look at passages side by side, and as JSON.

Students' text is hostile: the template escapes all of it, the page holds no script, and its policy forbids any.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import jinja2

from gpuclass.settings import Language
from gpuclass.similar.pairs import ENOUGH, Comparison, Pair, Work
from gpuclass.similar.reading import Unreadable

SCHEMA = 1  # of the JSON; rises when a key changes its meaning or goes
SHOWN = 200  # pairs on the page
COLOURS = 6  # passages take turns

PAGE = """<!DOCTYPE html>
<html lang="{{ lang }}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ words.title }}: {{ assignment }}</title>
<style>
body { font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 90em; padding: 0 1em; color: #222; background: #fff }
table { border-collapse: collapse } td, th { padding: .2em .8em; text-align: left; border-bottom: 1px solid #ddd }
.note { background: #fff6d6; border: 1px solid #e6d28a; padding: .6em 1em; max-width: 60em }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 1em } .pair > div { min-width: 0 }
pre { background: #f6f6f6; padding: .6em; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere }
mark { color: inherit } sup { font-weight: bold }
.c0 { background: #ffd9a8 } .c1 { background: #c7e5ff } .c2 { background: #d3f2c2 }
.c3 { background: #f3cdf0 } .c4 { background: #fbf19c } .c5 { background: #cfd6ff }
</style>
</head>
<body>
<h1>{{ words.title }}: {{ assignment }}</h1>
<p class="note">{{ words.careful }}</p>
<p>{{ words.compared }}</p>
{% if pairs %}
<table>
<tr><th></th><th colspan="2">{{ words.pair }}</th><th>{{ words.share }}</th><th>{{ words.passages }}</th><th></th></tr>
{% for pair in pairs %}
<tr><td><a href="#p{{ loop.index }}">{{ loop.index }}</a></td>
{% for side in pair.sides %}<td>{{ side.login }} {{ side.name }}</td>{% endfor %}
<td>{% for side in pair.sides %}{{ side.share }} %{% if not loop.last %} / {% endif %}{% endfor %}</td>
<td>{{ pair.passages }}</td><td>{% if pair.same_team %}{{ words.team }}{% endif %}</td></tr>
{% endfor %}
</table>
{% else %}<p>{{ words.none }}</p>{% endif %}
{% if short %}<p>{{ words.short }} {{ short }}</p>{% endif %}
{% for each in unreadable %}<p>{{ words.unreadable }} {{ each }}</p>{% endfor %}
{% for pair in pairs %}
<h2 id="p{{ loop.index }}">{{ loop.index }}. {{ pair.sides[0].login }} – {{ pair.sides[1].login }}
{%- if pair.same_team %} ({{ words.team }}){% endif %}</h2>
<div class="pair">
{% for side in pair.sides %}<div><h3>{{ side.login }} {{ side.name }}: {{ side.share }} %</h3>
{% if side.cut %}<p>{{ words.cut }}</p>{% endif %}
{% for name, parts in side.cells %}<h4>{{ name }}</h4>
<pre>{% for part in parts %}{% if part.number is none %}{{ part.text }}{% else -%}
<mark class="c{{ part.number % colours }}">{% if part.first %}<sup>{{ part.number }}</sup>{% endif %}
{{- part.text }}</mark>
{%- endif %}{% endfor %}</pre>{% endfor %}</div>{% endfor %}
</div>
{% endfor %}
</body>
</html>
"""
_TEMPLATE = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(PAGE)

_WORDS = {
    "title": ("비슷한 제출물", "Similar submissions"),
    "careful": (
        "비슷하다는 것은 베꼈다는 뜻이 아니에요. 옆 친구와 이야기했거나, 같은 팀이거나, "
        "같은 책이나 수업 자료를 봤거나, 우연히 같은 생각을 했을 수 있어요. 두 학생의 코드를 직접 읽어 보고, "
        "먼저 이야기를 나눠 보세요.",
        "Similar does not mean copied. Two students may have talked, be a team, have followed the same page or lesson, "
        "or simply have had the same idea. Read both yourself, and talk with them first.",
    ),
    "compared": (
        "학생 {compared}명의 마지막 제출물에서 스스로 쓴 코드를 견줬어요. 배포된 코드, import, 주석, "
        "이름의 차이, 많은 학생이 똑같이 쓴 부분은 빼고 봤어요. {threshold} % 이상 같은 쌍이 {pairs}개예요.",
        "The own code in the last submissions of {compared} students was compared, without released code, imports, "
        "comments, the choice of names, and what many wrote alike. Pairs that share at least {threshold} %: {pairs}.",
    ),
    "pair": ("두 학생", "Students"),
    "share": ("같은 부분", "Shared"),
    "passages": ("구절", "Passages"),
    "team": ("같은 팀", "same team"),
    "none": ("눈에 띄게 비슷한 쌍이 없어요.", "No pair stands out."),
    "short": (
        "스스로 쓴 코드가 토큰 {enough}개보다 짧아서 알 수 없는 학생(짧은 문제는 누구나 비슷하게 써요):",
        "Too short to tell, with fewer than {enough} tokens of their own "
        "(short answers look alike whoever writes them):",
    ),
    "unreadable": ("읽을 수 없는 제출물:", "Cannot be read:"),
    "cut": ("너무 길어서 앞부분만 견줬어요.", "Too long: only the first part was compared."),
}


def as_page(
    assignment: str,
    found: Comparison,
    unreadable: list[Unreadable],
    threshold: float,
    name: Callable[[str], str],
    language: Language,
) -> str:
    """One HTML file that needs nothing else."""
    numbers = {
        "compared": found.compared,
        "threshold": round(threshold * 100),
        "pairs": len(found.pairs),
        "enough": ENOUGH,
    }
    return _TEMPLATE.render(
        lang=language,
        assignment=assignment,
        words={key: each[0 if language == "ko" else 1].format(**numbers) for key, each in _WORDS.items()},
        pairs=[_shown(pair, name) for pair in found.pairs[:SHOWN]],
        short=", ".join(found.too_short),
        unreadable=[visible(f"{each.login}: {each.reason}") for each in unreadable],
        colours=COLOURS,
    )


def as_json(assignment: str, found: Comparison, unreadable: list[Unreadable], threshold: float) -> str:
    """For programs; docs/howto/similar.md describes the keys."""
    whole = {
        "schema": SCHEMA,
        "assignment": assignment,
        "threshold": threshold,
        "compared": found.compared,
        "pairs": [
            {
                "a": pair.a.login,
                "b": pair.b.login,
                "share_a": round(pair.share_a, 3),
                "share_b": round(pair.share_b, 3),
                "same_team": pair.same_team,
                "passages": [{"a": _where(pair.a, each.a), "b": _where(pair.b, each.b)} for each in pair.passages],
            }
            for pair in found.pairs
        ],
        "too_short": list(found.too_short),
        "unreadable": [{"login": each.login, "reason": each.reason} for each in unreadable],
    }
    return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"


def _where(work: Work, tokens: tuple[int, int]) -> dict[str, Any]:
    """From where to where a passage goes: names of cells, and lines in them from 1."""
    places = []
    for token in (work.own[tokens[0]], work.own[tokens[1] - 1]):
        name = list(work.cells)[token.cell]
        places.append({"cell": name, "line": work.cells[name].count("\n", 0, token.start) + 1})
    return {"from": places[0], "to": places[1]}


def _shown(pair: Pair, name: Callable[[str], str]) -> dict[str, Any]:
    sides = []
    for work, share, at in ((pair.a, pair.share_a, 0), (pair.b, pair.share_b, 1)):
        numbers: dict[int, int] = {}
        for number, passage in enumerate(pair.passages, 1):
            for token in range(*(passage.a, passage.b)[at]):
                numbers.setdefault(token, number)
        sides.append(
            {
                "login": work.login,
                "name": name(work.login),
                "share": round(share * 100),
                "cut": work.cut,
                "cells": list(_cells(work, numbers)),
            }
        )
    return {"sides": sides, "same_team": pair.same_team, "passages": len(pair.passages)}


def _cells(work: Work, numbers: dict[int, int]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each answer in pieces: text, and the number of the passage that it belongs to."""
    seen: set[int] = set()
    for index, (name, source) in enumerate(work.cells.items()):
        parts: list[dict[str, Any]] = []
        begin, last = 0, (-1, 0)  # where the text goes on; the token before and its number
        for at, token in enumerate(work.own):
            number = numbers.get(at)
            if token.cell != index or number is None:
                continue
            if parts and last == (at - 1, number):
                parts[-1]["text"] += visible(source[begin : token.end])
            else:
                parts.append({"text": visible(source[begin : token.start]), "number": None})
                text = visible(source[token.start : token.end])
                parts.append({"text": text, "number": number, "first": number not in seen})
                seen.add(number)
            begin, last = token.end, (at, number)
        parts.append({"text": visible(source[begin:]), "number": None})
        yield name, parts


def visible(text: str) -> str:
    """Without characters that hide or turn text around (Unicode's control and format characters)."""
    hidden = ("Cc", "Cf", "Cs")
    return "".join("\ufffd" if unicodedata.category(c) in hidden and c not in "\n\r\t" else c for c in text)
