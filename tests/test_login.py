"""The authenticator without a hub: whose word counts, and what people are told."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.auth import Authenticator
from traitlets import Unicode
from traitlets.config import Config

from gpuclass import login as login_module
from gpuclass.accounts import Accounts, import_roster
from gpuclass.login import HASHES_AT_ONCE, LoginRefusedError, RosterAuthenticator, authenticator_class
from gpuclass.passwords import matches
from gpuclass.roster import Person, Role, Roster
from gpuclass.settings import Settings, SettingsError

STUDENT = Person("s01", "김하늘", Role.STUDENT, "a")
OPERATOR = Person("op", "정운영", Role.OPERATOR)


class SingleSignOn(Authenticator):  # type: ignore[misc]  # JupyterHub has no type information
    """Stands for OAuth or LTI: believes whoever comes, and has its own idea of their rights."""

    site = Unicode("", config=True)

    async def authenticate(self, handler: Any, data: Mapping[str, str]) -> dict[str, Any]:
        return {"name": data["username"], "admin": True, "groups": ["instructors"]}


class Expired(SingleSignOn):
    """One whose session with the other site has ended."""

    async def refresh_user(self, user: Any, handler: Any = None) -> bool:
        return False


def make_settings(folder: Path, *, language: str = "ko", subdomains: bool = True, **login: Any) -> Settings:
    return Settings.model_validate(
        {
            "path": folder / "class.toml",
            "class": {"name": "c", "title": "C", "language": language},
            "login": login,
            "site": {"subdomains": subdomains},
        }
    )


def enrol(settings: Settings, *people: Person) -> dict[str, str]:
    return import_roster(Accounts(settings.accounts_path), Roster(people), passwords=settings.login.makes_passwords)


async def come(authenticator: Authenticator, login: str, password: str = "") -> Any:
    return await authenticator.get_authenticated_user(None, {"username": login, "password": password})


def user(login: str, *groups: str, admin: bool = False) -> Any:
    return SimpleNamespace(name=login, admin=admin, groups=[SimpleNamespace(name=group) for group in groups])


async def test_the_roster_gives_groups_and_admin(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    made = enrol(settings, STUDENT, OPERATOR)
    authenticator = authenticator_class(settings)()
    student = await come(authenticator, "s01", made["s01"])
    assert (student["name"], student["admin"], student["groups"]) == ("s01", False, ["students", "team-a"])
    operator = await come(authenticator, "op", made["op"])
    assert (operator["name"], operator["admin"], operator["groups"]) == ("op", True, ["operators"])


async def test_without_subdomains_an_operator_is_no_admin(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, subdomains=False)
    made = enrol(settings, OPERATOR)
    assert (await come(authenticator_class(settings)(), "op", made["op"]))["admin"] is False


@pytest.mark.parametrize(
    ("language", "wrong", "wait"),
    [
        ("ko", "아이디 또는 비밀번호가 맞지 않아요.", "이 아이디는 30초 뒤에 다시 로그인할 수 있어요."),
        ("en", "Login or password is not right.", "this account can log in again in 30 seconds."),
    ],
)
async def test_a_refusal_says_what_to_do_in_the_class_s_language(
    tmp_path: Path, language: str, wrong: str, wait: str
) -> None:
    settings = make_settings(tmp_path, language=language, failures=1)
    enrol(settings, STUDENT)
    authenticator = authenticator_class(settings)()
    with pytest.raises(LoginRefusedError) as first:
        await come(authenticator, "s01", "wrong")
    assert (first.value.status_code, first.value.headers) == (403, {})
    assert wrong in first.value.jupyterhub_message
    with pytest.raises(LoginRefusedError) as second:
        await come(authenticator, "s01", "wrong")
    assert (second.value.status_code, second.value.headers) == (429, {"Retry-After": "30"})
    assert wait in second.value.jupyterhub_message


async def test_unknown_names_are_slowed_down_like_known_ones(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, failures=2)
    enrol(settings, STUDENT)
    authenticator = authenticator_class(settings)()

    async def answer(login: str) -> int:
        with pytest.raises(LoginRefusedError) as refused:
            await come(authenticator, login, "wrong")
        return refused.value.status_code

    assert [await answer("s01") for _ in range(3)] == [await answer("nobody") for _ in range(3)] == [403, 403, 429]


async def test_only_a_right_password_learns_that_an_account_is_closed(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    made = enrol(settings, STUDENT, OPERATOR)
    enrol(settings, OPERATOR)
    authenticator = authenticator_class(settings)()
    with pytest.raises(LoginRefusedError) as wrong:
        await come(authenticator, "s01", "wrong")
    with pytest.raises(LoginRefusedError) as right:
        await come(authenticator, "s01", made["s01"])
    assert "맞지 않아요" in wrong.value.jupyterhub_message
    assert "명단에 없어요" in right.value.jupyterhub_message


@pytest.mark.parametrize("form", [{}, {"username": "s01"}, {"password": "x"}, {"username": "", "password": ""}])
async def test_half_a_form_is_a_wrong_password_and_no_crash(tmp_path: Path, form: dict[str, str]) -> None:
    settings = make_settings(tmp_path)
    enrol(settings, STUDENT)
    with pytest.raises(LoginRefusedError):
        await authenticator_class(settings)().get_authenticated_user(None, form)


async def test_hashing_neither_holds_up_the_hub_nor_takes_all_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings(tmp_path)
    logins = [f"s{number:02}" for number in range(20)]
    made = enrol(settings, *(Person(login, "이름", Role.STUDENT) for login in logins))
    lock, running, most = threading.Lock(), 0, 0

    def counted(stored: str | None, typed: str) -> bool:
        nonlocal running, most
        assert threading.current_thread() is not threading.main_thread()
        with lock:
            running += 1
            most = max(most, running)
        try:
            return matches(stored, typed)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(login_module, "matches", counted)
    authenticator = authenticator_class(settings)()
    beats = 0

    async def heart() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.005)
            beats += 1

    beating = asyncio.create_task(heart())
    people = await asyncio.gather(*(come(authenticator, login, made[login]) for login in logins))
    beating.cancel()
    assert [person["name"] for person in people] == logins
    assert most <= HASHES_AT_ONCE
    assert beats >= 5


async def test_another_authenticator_says_who_and_the_roster_says_what(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, authenticator=f"{__name__}.SingleSignOn", options={"site": "school"})
    assert enrol(settings, STUDENT) == {}
    authenticator = authenticator_class(settings)()
    assert isinstance(authenticator, SingleSignOn)
    assert authenticator.site == "school"
    assert authenticator.manage_groups is True
    student = await come(authenticator, "s01")
    assert (student["admin"], student["groups"]) == (False, ["students", "team-a"])


@pytest.mark.parametrize("own_list", [{}, {"allow_all": True}, {"allowed_users": {"stranger"}}])
async def test_another_authenticators_lists_let_no_stranger_in(tmp_path: Path, own_list: dict[str, Any]) -> None:
    settings = make_settings(tmp_path, authenticator=f"{__name__}.SingleSignOn")
    enrol(settings, STUDENT)
    authenticator = authenticator_class(settings)(config=Config({"SingleSignOn": own_list}))
    assert await come(authenticator, "stranger") is None
    assert (await come(authenticator, "s01"))["name"] == "s01"


async def test_nobody_outside_the_roster_becomes_a_user(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    enrol(settings, STUDENT)
    with pytest.raises(ValueError, match="stranger is not in the roster"):
        await authenticator_class(settings)().add_user(user("stranger"))


async def test_who_is_logged_in_follows_the_roster(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    enrol(settings, STUDENT, OPERATOR)
    authenticator = authenticator_class(settings)()
    assert await authenticator.refresh_user(user("s01", "students", "team-a")) is True
    stale = {"name": "s01", "admin": False, "groups": ["students", "team-a"]}
    assert await authenticator.refresh_user(user("s01", "instructors")) == stale
    assert await authenticator.refresh_user(user("s01", "students", "team-a", admin=True)) == stale
    enrol(settings, OPERATOR)
    assert await authenticator.refresh_user(user("s01", "students", "team-a")) is False


async def test_a_session_that_ended_elsewhere_has_ended_here(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, authenticator=f"{__name__}.Expired")
    enrol(settings, STUDENT)
    assert await authenticator_class(settings)().refresh_user(user("s01", "students", "team-a")) is False


def test_the_hub_creates_the_roster_and_closes_out_who_left(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    enrol(settings, STUDENT, OPERATOR)
    enrol(settings, OPERATOR)
    authenticator = authenticator_class(settings)()
    assert authenticator.allowed_users == {"op"}
    assert authenticator.blocked_users == {"s01"}


def test_a_name_for_the_hub_s_own_entry_point_works(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    assert issubclass(authenticator_class(settings), RosterAuthenticator)
    other = authenticator_class(make_settings(tmp_path, authenticator="dummy"))
    assert other.__name__ == "ClassDummyAuthenticator"
    assert not issubclass(other, RosterAuthenticator)


@pytest.mark.parametrize(
    ("login", "said"),
    [
        ({"authenticator": "no.such.Thing"}, "login.authenticator: 'no.such.Thing' cannot be imported"),
        ({"authenticator": "nonsense"}, "login.authenticator: 'nonsense' cannot be imported"),
        (
            {"authenticator": "pathlib.Path"},
            "login.authenticator: 'pathlib.Path' is not a JupyterHub Authenticator class",
        ),
        ({"options": {"colour": "red"}}, "login.options: RosterAuthenticator has no option colour"),
        ({"options": {"manage_groups": False}}, "login.options: RosterAuthenticator has no option manage_groups"),
    ],
)
def test_an_authenticator_that_cannot_be_used_stops_the_start(tmp_path: Path, login: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match="cannot be used") as refused:
        authenticator_class(make_settings(tmp_path, **login))
    assert said in str(refused.value)
