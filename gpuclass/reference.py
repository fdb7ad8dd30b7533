"""The reference pages that are made from code: ``python -m gpuclass.reference`` writes them, a test compares them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from gpuclass import ROOT, roles
from gpuclass.settings import Settings, sections

_HEAD = "<!-- Made by `make docs` from {source}: edit that and run it again. -->\n"
_LIMITS = {"ge": "≥", "gt": ">", "le": "≤", "max_length": "length ≤"}


def settings_page() -> str:
    """docs/reference/settings.md: every key of class.toml."""
    parts = [
        _HEAD.format(source="gpuclass/settings.py"),
        "# Settings\n",
        "`class.toml` is the one file an operator edits. The folder that holds it is the data folder: all that must be "
        "backed up lies there. Unknown keys and wrong values are refused at the start, all in one message, and after "
        "them a roster, sessions or datasets that are not there; `gpuclass check` says the same without starting "
        "anything. Without another path in the environment variable `GPUCLASS_CONFIG` the file is "
        "`var/class.toml`.\n",
        "A *size* is a number with `K`, `M`, `G` or `T` in quotes, a *duration* one with `ms`, `s`, `m`, `h` or `d`. "
        "Keys without a default must be given.\n",
    ]
    for name, section in sections().items():
        parts.append(f"## `[{name}]`\n\n{section.__doc__}\n")
        rows = [_setting(key, field) for key, field in section.model_fields.items()]
        parts.append(_table(("key", "type", "default", "meaning"), rows))
    return "\n".join(parts)


def roles_page() -> str:
    """docs/reference/roles.md: every scope that anybody has, with its reason."""
    with_subdomains, without = (example(subdomains=value) for value in (True, False))
    parts = [
        _HEAD.format(source="gpuclass/roles.py"),
        "# Roles and scopes\n",
        "The roster gives each person a role and perhaps a team; both are JupyterHub groups (`students`, `mentors`, "
        "`instructors`, `operators`, `team-NAME`), and JupyterHub's roles below are given to groups. Nothing else "
        "gives rights. A scope with `!group=students` covers the students of the class and nobody else.\n",
        "Everybody has JupyterHub's own role `user` with the scope `self`: see oneself, start, stop and open the own "
        "server, make tokens for oneself.\n",
        "## The token in a user's container\n",
        "The same for everybody, instructors and operators included, so a stolen one is of little use. JupyterHub "
        "drops a scope that the user does not have without an error; `gpuclass.roles.missing_scopes` finds that, and a "
        "test compares what a real server got with this table.\n",
        _scopes(roles.SERVER_TOKEN),
    ]
    for role in roles.hub_roles(with_subdomains):
        parts += [_role_head(role), _scopes(role.scopes)]
    parts += [
        "## `admin`\n",
        "JupyterHub's own role with every scope. Exactly the operators of the roster have it; who stops being one "
        "loses it with the next request a minute later, and at the hub's start.\n",
        "## Without subdomains\n",
        "With `site.subdomains = false` a page that a student made runs on the same domain as the teacher's. A teacher "
        "who opened it would act for the student who wrote it. So nobody but the student has `access:servers` then: "
        "`instructor` comes without it, nobody is `admin` (that role cannot be had without it), and operators have "
        "this role instead:\n",
        *(_scopes(role.scopes) for role in roles.hub_roles(without) if role.name == "operator"),
        "## Mentors\n",
        "Mentors have what a student has. What they see of their own teams comes with the mentors' page.\n",
        "## Services\n",
        f"`{roles.EXCHANGE_SERVICE}` has no scopes: it asks the hub who a student is with the student's own token. "
        f"`{roles.ROSTER_SERVICE}` is not a process but the token by which `gpuclass roster import` speaks to a "
        f"running hub, `{roles.QUEUE_SERVICE}` the one by which the hub's own queue does; the tokens lie in `secrets/` "
        "of the data folder, readable by their owner only.\n",
    ]
    return "\n".join(parts)


PAGES = {"settings": settings_page, "roles": roles_page}


def write(folder: Path = ROOT / "docs" / "reference") -> None:
    """Write all pages into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / f"{name}.md").write_text(page(), encoding="utf-8")


def example(*, subdomains: bool) -> Settings:
    """Settings of no particular class."""
    return Settings.model_validate(
        {
            "path": Path("class.toml"),
            "class": {"name": "example", "title": "Example"},
            "site": {"subdomains": subdomains},
        }
    )


def _role_head(role: roles.HubRole) -> str:
    holders = [f"group `{group}`" for group in role.groups] + [f"service `{service}`" for service in role.services]
    return f"## `{role.name}`\n\n{role.description}. Held by: {', '.join(holders)}.\n"


def _scopes(scopes: Mapping[str, str]) -> str:
    return _table(("scope", "why"), [(f"`{scope}`", reason) for scope, reason in scopes.items()])


def _setting(key: str, field: FieldInfo) -> tuple[str, ...]:
    default = "" if field.is_required() else f"`{json.dumps(_plain(field.default), ensure_ascii=False)}`"
    return f"`{key}`", _kind(field), default, field.description or ""


def _plain(value: Any) -> Any:
    """A default as it would stand in class.toml."""
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, bool, int, float, dict)) else str(value)


def _kind(field: FieldInfo) -> str:
    for item in field.metadata:
        schema = getattr(item, "json_schema", None)
        if schema:
            return str(schema["title"])
    kind = field.annotation
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        choices = tuple(kind)
    if choices:
        *others, last = (f"`{choice}`" for choice in choices)
        return f"{', '.join(others)} or {last}"
    limits = [
        f"{sign} {getattr(item, name):g}"
        for item in field.metadata
        for name, sign in _LIMITS.items()
        if hasattr(item, name)
    ]
    return ", ".join([_WORDS.get(get_origin(kind) or kind, "text"), *limits])


_WORDS: Mapping[Any, str] = {
    str: "text",
    int: "number",
    float: "number",
    bool: "true or false",
    tuple: "list",
    dict: "table",
}


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    write()
