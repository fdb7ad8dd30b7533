"""Roles and scopes as plain values."""

from pathlib import Path
from typing import Any

import pytest
from jupyterhub.roles import get_default_roles
from jupyterhub.scopes import _check_scopes_exist, parse_scopes

from gpuclass import roles
from gpuclass.roles import DESK_ACCESS, EXCHANGE_ACCESS, groups, load_roles, missing_scopes, server_token_scopes
from gpuclass.roster import Person, Role, Roster
from gpuclass.settings import Settings

ROSTER = Roster(
    (
        Person("s01", "김하늘", Role.STUDENT, "1조"),
        Person("s02", "이바다", Role.STUDENT),
        Person("m01", "최멘토", Role.MENTOR, "1조"),
        Person("t01", "박선생", Role.INSTRUCTOR),
        Person("op", "정운영", Role.OPERATOR),
    )
)


def settings(*, subdomains: bool = True) -> Settings:
    return Settings.model_validate(
        {"path": Path("class.toml"), "class": {"name": "c", "title": "C"}, "site": {"subdomains": subdomains}}
    )


def by_name(*, subdomains: bool = True) -> dict[str, dict[str, Any]]:
    return {role["name"]: role for role in load_roles(settings(subdomains=subdomains), ROSTER)}


def admin_scopes() -> set[str]:
    (admin,) = (role for role in get_default_roles() if role["name"] == "admin")
    return set(admin["scopes"])


def test_groups_are_roles_and_teams() -> None:
    assert groups(ROSTER) == {
        "students": {"s01", "s02"},
        "mentors": {"m01"},
        "instructors": {"t01"},
        "operators": {"op"},
        "team-1조": {"s01", "m01"},
    }
    assert groups(Roster(())) == {"students": set(), "mentors": set(), "instructors": set(), "operators": set()}


@pytest.mark.parametrize("subdomains", [True, False])
def test_every_scope_is_one_that_jupyterhub_knows(subdomains: bool) -> None:
    for role in load_roles(settings(subdomains=subdomains), ROSTER):
        _check_scopes_exist(role.get("scopes", []))
        parse_scopes(role.get("scopes", []))
    _check_scopes_exist(server_token_scopes())


def test_exactly_the_operators_are_admins() -> None:
    assert by_name()["admin"]["users"] == ["op"]
    assert "operator" not in by_name()


def test_instructors_reach_students_and_nobody_else() -> None:
    instructor = by_name()["instructor"]
    assert instructor["groups"] == ["instructors"]
    assert {scope for scope in instructor["scopes"] if not scope.endswith("!group=students")} == {"admin-ui"}
    assert "access:servers!group=students" in instructor["scopes"]


def test_students_and_mentors_get_exchange_and_desk_and_nothing_more() -> None:
    for group in ("students", "mentors"):
        given = {scope for role in by_name().values() if group in role.get("groups", []) for scope in role["scopes"]}
        assert given == {EXCHANGE_ACCESS, DESK_ACCESS}


def test_without_subdomains_nobody_may_open_anybodys_server() -> None:
    found = by_name(subdomains=False)
    assert found["admin"]["users"] == []
    given = {scope.partition("!")[0] for role in found.values() for scope in role.get("scopes", [])}
    assert given & {"access:servers", "shares", "self", "inherit"} == set()


def test_without_subdomains_an_operator_is_an_admin_but_for_opening_servers() -> None:
    operator = by_name(subdomains=False)["operator"]
    assert set(operator["scopes"]) == admin_scopes() - {"access:servers", "shares"}
    assert operator["groups"] == ["operators"]


def test_a_users_server_may_speak_to_exchange_and_desk_and_say_that_it_is_alive() -> None:
    assert server_token_scopes() == [
        "users:activity!user",
        "access:servers!server",
        "read:users:name!user",
        "read:users:groups!user",
        EXCHANGE_ACCESS,
        DESK_ACCESS,
    ]


GOT = [
    "users:activity!user=s01",
    "read:users:activity!user=s01",
    "read:users:name!user=s01",
    "read:users:groups!user=s01",
    "access:servers!server=s01/",
    EXCHANGE_ACCESS,
    DESK_ACCESS,
]


def test_a_full_token_misses_nothing() -> None:
    assert missing_scopes(server_token_scopes(), GOT, login="s01") == frozenset()
    assert missing_scopes(server_token_scopes(), server_token_scopes(), login="s01") == frozenset()


@pytest.mark.parametrize("scope", roles.SERVER_TOKEN)
def test_each_scope_that_was_dropped_is_named(scope: str) -> None:
    expected = scope.replace("!user", "!user=s01").replace("!server", "!server=s01/")
    assert missing_scopes(server_token_scopes(), [s for s in GOT if s != expected], login="s01") == {expected}


def test_the_same_scope_for_somebody_else_does_not_count() -> None:
    other = [scope.replace("s01", "s02") for scope in GOT]
    assert missing_scopes(server_token_scopes(), other, login="s01") == {s for s in GOT if "s01" in s} - {GOT[1]}


def test_a_wider_scope_counts() -> None:
    assert missing_scopes([EXCHANGE_ACCESS], ["access:services"], login="s01") == frozenset()


def test_a_named_server_has_its_own_scope() -> None:
    got = ["access:servers!server=s01/lab"]
    assert missing_scopes(["access:servers!server"], got, login="s01", server_name="lab") == frozenset()
    assert missing_scopes(["access:servers!server"], got, login="s01") == {"access:servers!server=s01/"}
