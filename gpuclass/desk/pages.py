"""Pages in the reader's language: Jinja templates, gettext catalogues, and the headers that every page carries.

English stands in templates and code; ``locale/<language>/LC_MESSAGES/desk.po`` has the rest. Python code marks a text
with ``N_`` and translates it where the reader is known.
"""

from __future__ import annotations

import gettext
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from gpuclass.desk.session import PREFIX
from gpuclass.roster import Person, Role
from gpuclass.settings import Language, Settings

HERE = Path(__file__).parent
LANGUAGES: tuple[Language, ...] = ("ko", "en")
LANGUAGE_COOKIE = "desk-lang"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def N_(text: str) -> str:  # noqa: N802  # gettext's own name for it
    """Mark a text for the catalogues; it is translated later, where the reader is known."""
    return text


@dataclass(frozen=True)
class Link:
    """An entry of the bar above every page."""

    path: str
    text: str
    roles: frozenset[Role]


EVERYBODY = frozenset(Role)
TEACHERS = frozenset({Role.INSTRUCTOR, Role.OPERATOR})
HELPERS = TEACHERS | {Role.MENTOR}

LINKS = (
    Link("board", N_("Board"), HELPERS),
    Link("me", N_("My page"), EVERYBODY),
    Link("hands", N_("Hands"), HELPERS),
    Link("messages", N_("Messages"), HELPERS),
    Link("audit", N_("Who did what"), TEACHERS),
)
"""In this order; each only for whom it is of use. That is no wall: every page checks for itself."""


@cache
def translations(language: Language) -> gettext.NullTranslations:
    """The catalogue of one language; English is what stands in the templates."""
    path = HERE / "locale" / language / "LC_MESSAGES" / "desk.po"
    if not path.is_file():
        return gettext.NullTranslations()
    compiled = io.BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def say(language: Language, text: str, **values: object) -> str:
    """A text marked with ``N_`` in one language, its ``{fields}`` filled."""
    return translations(language).gettext(text).format(**values)


DAYS = ("월", "화", "수", "목", "금", "토", "일")


def _when(moment: datetime, now: datetime, language: Language) -> str:
    """A moment as people say it: the time alone for today, else with the day."""
    if moment.date() == now.date():
        return f"{moment:%H:%M}"
    if language == "ko":
        return f"{moment.month}월 {moment.day}일({DAYS[moment.weekday()]}) {moment:%H:%M}"
    return f"{moment:%a} {moment.day} {moment:%b} {moment:%H:%M}"


class Pages:
    """Renders the desk's templates.

    Args:
        settings: the class.
        xsrf: the XSRF token of a session's token.
    """

    def __init__(self, settings: Settings, xsrf: Callable[[str], str]) -> None:
        self._settings = settings
        self._xsrf = xsrf
        self._environments = {language: self._environment(language) for language in LANGUAGES}

    def language(self, request: Request) -> Language:
        """What this browser's reader chose, else the class's language."""
        chosen = request.cookies.get(LANGUAGE_COOKIE)
        return next((language for language in LANGUAGES if language == chosen), self._settings.class_.language)

    def page(
        self, request: Request, person: Person | None, template: str, status: int = 200, **values: Any
    ) -> HTMLResponse:
        """A whole page or a part of one, with the headers that keep it to its reader."""
        return HTMLResponse(self.text(request, person, template, **values), status, headers=HEADERS)

    def text(self, request: Request, person: Person | None, template: str, **values: Any) -> str:
        """The same as text, for an event stream."""
        token: str = getattr(request.state, "token", "")
        common = {
            "person": person,
            "xsrf": self._xsrf(token) if token else "",
            "links": [link for link in LINKS if person and person.role in link.roles],
            "here": request.url.path.removeprefix(f"{PREFIX}/"),
        }
        return self.render(self.language(request), template, common | values)

    def render(self, language: Language, template: str, values: Mapping[str, Any]) -> str:
        """A template alone, for what many readers share."""
        return self._environments[language].get_template(template).render(values)

    def _environment(self, language: Language) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.i18n"],
        )
        environment.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]  # the extension adds it
        zone = ZoneInfo(self._settings.class_.timezone)

        environment.filters |= {
            "clock": lambda moment: f"{moment.astimezone(zone):%H:%M}",
            "when": lambda moment: _when(moment.astimezone(zone), datetime.now(zone), language),
        }
        environment.globals |= {
            "base": PREFIX,
            "hub": self._settings.site.address,
            "class_title": self._settings.class_.title,
            "language": language,
            "languages": LANGUAGES,
        }
        return environment
