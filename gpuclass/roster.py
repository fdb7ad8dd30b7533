"""Who belongs to the class: the roster CSV, read and checked. Knows nothing of passwords, JupyterHub or the network."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from gpuclass.errors import PlainError

COLUMNS = ("login", "name", "role", "team")
NAME_LIMIT = 50  # characters; longer ones are a slipped column, not a name
LOGIN = re.compile(r"[a-z][a-z0-9]{1,30}")  # the same text is a subdomain, a folder and part of a container's name
TEAM = re.compile(r"[^\W_](?:[\w-]{0,28}[^\W_])?")  # letters of any script: JupyterHub allows them in a group's name
RESERVED_LOGINS = frozenset({"hub", "localhost", "services", "www"})  # names of the site itself

_KOREAN_COLUMNS = {"아이디": "login", "이름": "name", "역할": "role", "팀": "team", "조": "team"}


class RosterError(PlainError):
    """The roster cannot be used; the text lists every line at fault, with the reason."""


class Role(StrEnum):
    """What somebody is in the class; each role is also a JupyterHub group (``Role.group``)."""

    STUDENT = "student"
    MENTOR = "mentor"
    INSTRUCTOR = "instructor"
    OPERATOR = "operator"

    @property
    def group(self) -> str:
        """The JupyterHub group of everybody in this role: ``"students"`` and so on."""
        return f"{self}s"


TEAM_PREFIX = "team-"  # of a team's group in JupyterHub
_KOREAN_ROLES = {"학생": Role.STUDENT, "멘토": Role.MENTOR, "강사": Role.INSTRUCTOR, "운영자": Role.OPERATOR}


@dataclass(frozen=True)
class Person:
    """One line of the roster; ``team`` is empty for somebody without a team."""

    login: str
    name: str
    role: Role
    team: str = ""

    @property
    def groups(self) -> tuple[str, ...]:
        """The JupyterHub groups this person is in."""
        return (self.role.group, f"{TEAM_PREFIX}{self.team}") if self.team else (self.role.group,)


@dataclass(frozen=True)
class Roster:
    """Everybody in the class, in the order of the file; no login twice."""

    people: tuple[Person, ...]

    @cached_property
    def _by_login(self) -> Mapping[str, Person]:
        return {person.login: person for person in self.people}

    def get(self, login: str) -> Person | None:
        """The person who logs in as ``login``."""
        return self._by_login.get(login)

    def with_role(self, role: Role) -> tuple[Person, ...]:
        """Everybody in one role, in the order of the file."""
        return tuple(person for person in self.people if person.role is role)


def read(path: Path) -> Roster:
    """Read a roster: CSV with a header, in UTF-8 or, as Korean Excel writes it, cp949.

    Raises:
        RosterError: the file cannot be read, or one message for all lines at fault.
    """
    try:
        text = _decode(path.read_bytes())
    except FileNotFoundError:
        raise RosterError(
            f"{path} does not exist. It is a CSV file with the columns {', '.join(COLUMNS)}; "
            "roster.example.csv shows one."
        ) from None
    except OSError as error:
        raise RosterError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RosterError(f"{path} is neither UTF-8 nor cp949 text. In Excel: Save As, “CSV UTF-8”.") from None
    people, faults = _parse(text)
    if faults:
        raise RosterError("\n".join([f"{path} cannot be used:", *(f"  {fault}" for fault in faults)]))
    return Roster(tuple(people))


def _decode(raw: bytes) -> str:
    if b"\0" in raw:  # UTF-16, or not text at all: cp949 would read it as something
        raise UnicodeDecodeError("utf-8", raw, raw.index(b"\0"), raw.index(b"\0") + 1, "NUL")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp949")
    return unicodedata.normalize("NFC", text)


def _parse(text: str) -> tuple[list[Person], list[str]]:
    """The people and what is wrong with the file, one text a fault."""
    rows = _rows(text)
    people: list[Person] = []
    seen: dict[str, int] = {}
    faults: list[str] = []
    try:
        line, header = next(rows, (1, []))
        columns = [_KOREAN_COLUMNS.get(cell, cell.lower()) for cell in header]
        wrong = _header_faults(columns)
        if wrong:
            return [], [f"line {line}: {fault}" for fault in wrong]
        for line, cells in rows:
            value = dict(zip(columns, cells, strict=False))
            login = value.get("login", "")
            problems = _row_faults(value)
            if len(cells) > len(columns):
                problems.append(f"{len(cells)} cells under {len(columns)} columns; put a name with a comma in quotes")
            if login in seen:
                problems.append(f"login {login!r} is already on line {seen[login]}")
            seen.setdefault(login, line)
            faults += [f"line {line}: {problem}" for problem in problems]
            if not problems:
                people.append(Person(login, value["name"], _role(value["role"]), value.get("team", "")))
    except csv.Error as error:
        faults.append(f"is not CSV: {error}")
    if not people and not faults:
        faults.append("holds nobody: there is no line below the header")
    return people, faults


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, cells stripped, each with the number of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    for row in reader:
        cells = [cell.strip() for cell in row]
        if any(cells):
            while len(cells) > len(COLUMNS) and not cells[-1]:
                cells.pop()  # Excel pads rows with empty cells
            yield line, cells
        line = reader.line_num + 1


def _header_faults(columns: list[str]) -> list[str]:
    faults = [f"column {name!r} is missing" for name in COLUMNS if name not in columns]
    faults += [f"unknown column {name!r}" for name in columns if name not in COLUMNS]
    faults += [f"column {name!r} stands there twice" for name in COLUMNS if columns.count(name) > 1]
    if faults:
        faults.append(
            f"the first line names the columns: {','.join(COLUMNS)} (or {','.join(list(_KOREAN_COLUMNS)[:4])})"
        )
    return faults


def _row_faults(value: Mapping[str, str]) -> list[str]:
    login, name, role, team = (value.get(column, "") for column in COLUMNS)
    faults = []
    if not LOGIN.fullmatch(login):
        faults.append(f"login {login!r}: must be 2 to 31 of a-z and 0-9, a letter first")
    elif login in RESERVED_LOGINS:
        faults.append(f"login {login!r}: is a name of the site itself")
    if not name:
        faults.append("name is empty")
    elif len(name) > NAME_LIMIT or not name.isprintable():
        faults.append(f"name {name[:NAME_LIMIT]!r}: must be at most {NAME_LIMIT} printable characters on one line")
    if role.lower() not in {*Role, *_KOREAN_ROLES}:
        faults.append(f"role {role!r}: must be one of {', '.join(Role)} (or {', '.join(_KOREAN_ROLES)})")
    if team and not TEAM.fullmatch(team):
        faults.append(f"team {team!r}: must be at most 30 letters, digits and hyphens, such as 'a1' or '3조'")
    return faults


def _role(text: str) -> Role:
    return _KOREAN_ROLES.get(text) or Role(text.lower())
