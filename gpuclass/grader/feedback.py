"""The page a student gets back: score, parts, messages, their own notebook. Never a hidden test, never a script.

Which lines are hidden is said by nbgrader's delimiters. What hidden lines printed or raised is in no output that
`execute` leaves; of a notebook that something else has run (nbgrader's own autograder, before a course came here), the
outputs from the first hidden test on are left out, because they may quote it.

Everything is escaped by the template; what stays HTML went through `markup`. A content security policy in the page
forbids scripts and requests even if both failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jinja2
from markupsafe import Markup
from nbconvert.exporters import Exporter
from nbconvert.filters import strip_ansi
from nbformat import NotebookNode
from nbgrader.preprocessors import GetGrades as NbGraderGetGrades
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from traitlets import Unicode, default
from traitlets.config import Config

from gpuclass.exchange.wire import FEEDBACK_MARK
from gpuclass.grader.markup import EFFORT_LIMIT, effort, markdown, safe_html
from gpuclass.grader.visible import without_hidden, without_marking_scheme
from gpuclass.grader.words import Language, say

_CODE = HtmlFormatter(nobackground=True)
PAGE_EFFORT = 10 * EFFORT_LIMIT  # of all Markdown and HTML in one page; what comes after that is shown as text

MESSAGE_LIMIT = 160  # characters
NO_RESPONSE = "No response."  # nbgrader's comment on a written answer that is as it was released
TIME_LIMIT, DOOR = "CellTimeout", "Fault"  # names that `execute` and the referee give to errors of their own
OWN_ERRORS = frozenset((TIME_LIMIT, "Stopped", "NotRun", "NoResult", "PartialCredit"))  # their text is the grader's

PAGE = """<!DOCTYPE html>
<html lang="{{ language }}">
<head>
<meta charset="utf-8">
{{ mark }}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
{{ pygments }}
body { font: 16px/1.6 system-ui, "Noto Sans CJK KR", "Apple SD Gothic Neo", "Malgun Gothic", sans-serif;
       color: #222; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
pre { background: #f6f7f9; padding: .6rem .8rem; border-radius: 6px; overflow-x: auto; font: 14px/1.45 monospace; }
img { max-width: 100%; }
h1 { font-size: 1.5rem; margin: 0; }
table { border-collapse: collapse; } td, th { padding: .2rem .6rem; border: 1px solid #ddd; }
.score { font-size: 1.6rem; font-weight: 700; margin: .4rem 0; } .score small { font-size: 1rem; font-weight: 400; }
.bar { display: block; height: .7rem; min-width: 6rem; border-radius: 99px; background: #e3e6ea; overflow: hidden; }
.bar i { display: block; height: 100%; background: #a86400; } .full .bar i { background: #187a3c; }
.pending .bar { background: repeating-linear-gradient(45deg, #e3e6ea 0 6px, #f6f7f9 6px 12px); }
.parts { width: 100%; margin: 1rem 0; } .parts td, .parts th { border: 0; border-bottom: 1px solid #e3e6ea;
  padding: .5rem; text-align: left; vertical-align: middle; overflow-wrap: anywhere; }
.parts th { color: #555; font-size: 14px; font-weight: 400; } .parts .points { white-space: nowrap; }
.parts a { color: #1a4f9c; padding: .4rem 0; }
.mark::before { display: inline-block; width: 1.2em; }
.full .mark::before { content: "✓"; color: #187a3c; } .partly .mark::before { content: "◐"; color: #a86400; }
.none .mark::before { content: "✗"; color: #b3261e; } .pending .mark::before { content: "…"; color: #555; }
.cell { margin: 1.2rem 0; } .graded { border-left: 4px solid #8aa4c8; padding-left: .8rem; }
.heading { display: flex; justify-content: space-between; color: #555; font-size: 14px; }
.error { background: #fdecea; white-space: pre-wrap; }
.note { background: #fff6e0; padding: .5rem .8rem; border-radius: 6px; } .note ul { margin: .2rem 0; }
.stop { background: #fdecea; padding: .6rem .8rem; border-radius: 6px; }
@media (max-width: 36rem) { .parts .line { display: none; } }
</style>
</head>
<body>
<h1>{{ title }}</h1>
<p class="score">{{ words("score") }} {{ number(score) }} / {{ number(max_score) }}
{% if open %}<small>{{ words("open-points", points=number(open)) }}</small>{% endif %}</p>
{% if late %}<p class="note">{{ words("late", penalty=number(late), before=number(score + late)) }}</p>{% endif %}
{% if withheld %}<p class="stop">{{ words("not-graded", reason=withheld) }}
{{ words("a-person-looks" if open else "submit-again") }}</p>{% endif %}
{% if notes %}
<div class="note"><b>{{ words("notices") }}</b>
<ul>{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul></div>
{% endif %}
<table class="parts">
<tr><th>{{ words("part") }}</th><th class="line"></th><th>{{ words("points") }}</th><th>{{ words("remark") }}</th></tr>
{% for cell in cells if cell.points is not none %}
<tr class="{{ cell.mark }}"><td class="mark"><a href="#part-{{ cell.number }}">{{ cell.grade_id }}</a></td>
<td class="line"><span class="bar"><i style="width: {{ cell.percent }}%"></i></span></td>
<td class="points">{% if cell.pending %}– / {{ number(cell.points) }}
{% else %}{{ number(cell.score) }} / {{ number(cell.points) }}{% endif %}</td>
<td>{{ cell.message }}</td></tr>
{% endfor %}
</table>
{% for cell in cells %}
<div class="cell{% if cell.points is not none %} graded{% endif %}" id="part-{{ cell.number }}">
{% if cell.points is not none or cell.comment %}
<div class="heading"><span>{{ words("answer" if cell.answer else "check") }} {{ cell.grade_id }}</span>
{% if cell.points is not none %}
<span class="{{ cell.mark }}"><span class="mark">
{% if cell.pending %}{{ words("pending") }}{% else %}{{ number(cell.score) }} / {{ number(cell.points) }}{% endif %}
</span></span>
{% endif %}</div>
{% endif %}
{{ cell.body }}
{% if cell.remark %}<p class="note">{{ cell.remark }}</p>{% endif %}
{% for output in cell.outputs %}{{ output }}{% endfor %}
{% if cell.comment %}<div class="note"><b>{{ words("comment") }}</b> {{ cell.comment }}</div>{% endif %}
</div>
{% endfor %}
</body>
</html>
"""
_TEMPLATE = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined).from_string(PAGE)


@dataclass
class PageCell:
    """One cell as the template shows it; ``points`` is None for what is not graded."""

    number: int
    body: Markup
    grade_id: str = ""
    answer: bool = False
    score: float = 0.0
    points: float | None = None
    pending: bool = False
    remark: str = ""
    message: str = ""
    comment: Markup | None = None
    outputs: list[Markup] = field(default_factory=list)

    @property
    def mark(self) -> str:
        """Class of the sign before its points."""
        if self.pending:
            return "pending"
        if self.points is None or self.score >= self.points:
            return "full"
        return "partly" if self.score > 0 else "none"

    @property
    def percent(self) -> int:
        """How much of its bar is filled."""
        return round(100 * min(max(self.score / self.points, 0), 1)) if self.points and not self.pending else 0


class GetGrades(NbGraderGetGrades):  # type: ignore[misc]  # nbgrader has no types
    """nbgrader's GetGrades, and whether a cell still waits for a person."""

    def _get_score(self, cell: NotebookNode, resources: Any) -> None:
        super()._get_score(cell, resources)
        grade = self.gradebook.find_grade(
            cell.metadata["nbgrader"]["grade_id"], self.notebook_id, self.assignment_id, self.student_id
        )
        cell.metadata.nbgrader["pending"] = bool(grade.needs_manual_grade) and grade.manual_score is None


class FeedbackExporter(Exporter):
    """An autograded notebook as the student's page."""

    language = Unicode("en", help="Language of the page: `ko` or `en`.").tag(config=True)
    output_mimetype = "text/html"
    export_from_notebook = "gpuclass feedback"

    @default("file_extension")
    def _file_extension_default(self) -> str:
        return ".html"

    def from_notebook_node(
        self, nb: NotebookNode, resources: Any | None = None, **kw: Any
    ) -> tuple[NotebookNode, dict[str, Any]]:
        """The page as text, and the resources."""
        graded, resources = super().from_notebook_node(nb, resources, **kw)
        language: Language = "ko" if self.language == "ko" else "en"
        return page(graded, resources["nbgrader"], language, self.config), resources  # type: ignore[return-value]  # exporters return text; the base class alone returns the notebook


def page(nb: NotebookNode, grades: Mapping[str, Any], language: Language, config: Config | None = None) -> str:
    """The whole page.

    Args:
        nb: an autograded notebook that went through `GetGrades`.
        grades: ``notebook``, ``score``, ``max_score``, ``late_penalty``.
        language: of the page's own words.
        config: names nbgrader's delimiters of hidden tests where they are not the usual ones.
    """
    _lighten(nb)
    remarks = nb.metadata.get("gpuclass", {})
    if not remarks.get("apart"):
        _drop_outputs(nb, config)
    cells = [_cell(cell, number, language, config) for number, cell in enumerate(nb.cells)]
    late = grades.get("late_penalty") or 0
    return _TEMPLATE.render(
        language=language,
        title=grades["notebook"],
        score=grades["score"] - late,
        max_score=grades["max_score"],
        late=late,
        open=sum(cell.points for cell in cells if cell.pending and cell.points),
        withheld=remarks.get("withheld"),
        notes=remarks.get("repairs", []),
        cells=cells,
        mark=Markup(FEEDBACK_MARK),  # noqa: S704  # a constant
        pygments=Markup(_CODE.get_style_defs(".highlight")),  # noqa: S704  # Pygments' own text
        words=lambda key, **details: say(language, key, **details),
        number=lambda value: f"{value:g}",
    )


def _drop_outputs(nb: NotebookNode, config: Config | None) -> None:
    """Leave no output from the first hidden test on."""
    reached = False
    for cell in nb.cells:
        reached = reached or (_is_test(cell) and without_hidden(cell.source, config) != cell.source)
        if reached and "outputs" in cell:
            cell.outputs = []


def _is_test(cell: NotebookNode) -> bool:
    """Automatically graded: graded, and not an answer."""
    known = cell.metadata.get("nbgrader", {})
    return bool(known.get("grade")) and not known.get("solution")


def _lighten(nb: NotebookNode) -> None:
    """Leave as text what would make the whole page take too long."""
    left = PAGE_EFFORT
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            left -= effort(cell.source)
            cell.cell_type = "raw" if left < 0 else "markdown"
        for output in cell.get("outputs", []):
            left -= effort(output.get("data", {}).get("text/html", ""))
            if left < 0:
                output.get("data", {}).pop("text/html", None)


def _cell(cell: NotebookNode, number: int, language: Language, config: Config | None) -> PageCell:
    known = cell.metadata.get("nbgrader", {})
    source, outputs = cell.source, list(cell.get("outputs", []))
    is_test = _is_test(cell)
    hides = False
    if is_test or known.get("locked"):
        source = without_hidden(source, config)
        hides = source != cell.source
        source = without_marking_scheme(source, config)
    if is_test:
        # The first output is the verdict; with hidden tests its message may quote them, but for that of the time limit,
        # which is the grader's own.
        verdict = outputs[0] if outputs else None
        told = verdict is not None and verdict.output_type == "error" and (not hides or verdict.ename == TIME_LIMIT)
        twice = hides and any(output.output_type == "error" for output in outputs[1:])  # the visible part says it
        outputs = outputs if told and not twice else outputs[1:]
    made = PageCell(number=number, body=_body(cell, source), outputs=[_output(output) for output in outputs])
    made.grade_id = str(known.get("grade_id", ""))
    made.answer = bool(known.get("solution"))
    if known.get("grade") or known.get("task"):
        made.score, made.points = float(known.get("score") or 0), float(known.get("points") or 0)
        made.pending = bool(known.get("pending"))
    failed = next((output for output in outputs if output.output_type == "error"), None)
    if hides and made.mark in ("none", "partly") and failed is None:
        made.remark = say(language, "hidden-failed")
    elif is_test and failed is not None and failed.ename == DOOR:
        made.remark = say(language, "door")
    unanswered = known.get("comment") == NO_RESPONSE
    if made.points is not None:
        made.message = say(language, "unanswered") if unanswered else _message(made, failed, language)
    if known.get("comment") and not unanswered:
        made.comment = Markup(markdown(known["comment"]))  # noqa: S704  # made safe
    return made


def _message(cell: PageCell, failed: NotebookNode | None, language: Language) -> str:
    """In one line, why a part has not all its points."""
    match cell.mark:
        case "full":
            return ""
        case "pending":
            return say(language, "pending")
        case _ if cell.remark:
            return say(language, "door-short" if failed is not None else "hidden-short")
    if failed is None:
        return say(language, "partly") if cell.mark == "partly" else ""
    if failed.ename == "Withheld":  # stands above, once
        return ""
    if failed.ename == "NotImplementedError":
        return say(language, "unanswered")
    text = " ".join(strip_ansi(str(failed.evalue)).split())
    if failed.ename == "AssertionError":
        return shorten(text) if text else say(language, "assertion")
    return shorten(text if failed.ename in OWN_ERRORS else f"{failed.ename}: {text}")


def shorten(text: str) -> str:
    """Not more of it than a line of the table has room for."""
    return text if len(text) <= MESSAGE_LIMIT else text[: MESSAGE_LIMIT - 1] + "…"


def _body(cell: NotebookNode, source: str) -> Markup:
    match cell.cell_type:
        case "markdown":
            return Markup(markdown(source, cell.get("attachments")))  # noqa: S704  # made safe
        case "code":
            return Markup(highlight(source, PythonLexer(), _CODE)) if source.strip() else Markup("")  # noqa: S704  # Pygments escapes
    return Markup("<pre>{}</pre>").format(source)


def _output(output: NotebookNode) -> Markup:
    match output.output_type:
        case "stream":
            return Markup("<pre>{}</pre>").format(strip_ansi(output.text))
        case "error":
            return Markup('<pre class="error">{}</pre>').format(strip_ansi("\n".join(output.traceback)))
    data = output.data
    for mime in ("image/png", "image/jpeg"):
        if mime in data:
            return Markup('<img alt="" src="data:{};base64,{}">').format(mime, data[mime])
    if "text/html" in data:
        return Markup(safe_html(data["text/html"]))  # noqa: S704  # made safe
    return Markup("<pre>{}</pre>").format(strip_ansi(data.get("text/plain", "")))
