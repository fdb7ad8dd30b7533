"""Who may log in: JupyterHub authenticators that take people, roles and teams from the imported roster alone.

``RosterAuthenticator`` checks the generated passwords. ``authenticator_class`` puts the same roster over any other
authenticator (OAuth, LTI): that one then says who somebody is, never what they may do.
"""

from __future__ import annotations

import asyncio
import math
import secrets
import unicodedata
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from typing import Any

from jupyterhub import orm
from jupyterhub.auth import Authenticator
from jupyterhub.utils import maybe_future
from sqlalchemy.orm import object_session
from tornado.web import HTTPError
from traitlets import Any as AnyTrait
from traitlets import Instance, default
from traitlets.utils.importstring import import_item

from gpuclass.accounts import Account, Accounts
from gpuclass.passwords import matches
from gpuclass.roles import operators_are_admins
from gpuclass.roster import Person, Role
from gpuclass.settings import Language, Settings, load, refused
from gpuclass.throttle import Throttle

HASHES_AT_ONCE = 2  # threads; 80 log-ins within one second keep two cores busy for 0.8 s and use 14 MiB
REFRESH_S = 60  # how long a change in the roster may go unnoticed where the hub was not told
DEVICE_COOKIE = "gpuclass-device"
DEVICE_DAYS = 30  # longer than any camp

_DECIDED_HERE = frozenset({"manage_groups", "manage_roles", "allowed_users", "blocked_users", "admin_users"})
"""Options of every Authenticator that would take roles or membership away from the roster."""

_MESSAGES: Mapping[str, Mapping[Language, str]] = {
    "wrong": {
        "ko": "아이디 또는 비밀번호가 맞지 않아요. 카드에 적힌 대로 다시 입력해 보세요. "
        "한/영 키와 Caps Lock도 확인해 주세요.",
        "en": "Login or password is not right. Type them again as they stand on your card; check Caps Lock.",
    },
    "wait": {
        "ko": "비밀번호가 여러 번 틀려서 이 아이디는 {seconds}초 뒤에 다시 로그인할 수 있어요. "
        "비밀번호를 모르면 선생님께 말씀드려 주세요.",
        "en": "Too many wrong passwords: this account can log in again in {seconds} seconds. "
        "If you do not know your password, ask your teacher.",
    },
    "closed": {
        "ko": "이 아이디는 지금 수업 명단에 없어요. 선생님께 말씀드려 주세요.",
        "en": "This account is not in the class any more. Please ask your teacher.",
    },
}


class LoginRefusedError(HTTPError):
    """A login that is refused; the login page shows ``jupyterhub_message``."""

    def __init__(self, status: int, reason: str, language: Language, seconds: float = 0) -> None:
        super().__init__(status)
        self.jupyterhub_message = _MESSAGES[reason][language].format(seconds=math.ceil(seconds))
        self.headers = {"Retry-After": str(math.ceil(seconds))} if seconds else {}


class RosterMixin(Authenticator):  # type: ignore[misc]  # JupyterHub has no type information
    """The roster's word on who is in the class, who is admin and who is in which group, over any authenticator."""

    settings = Instance(Settings, help="The class; read from class.toml unless a subclass brings it.")

    @default("settings")
    def _default_settings(self) -> Settings:
        return load()

    @default("manage_groups")
    def _default_manage_groups(self) -> bool:
        return True

    @default("auth_refresh_age")
    def _default_auth_refresh_age(self) -> int:
        return REFRESH_S

    @default("any_allow_config")
    def _default_any_allow_config(self) -> bool:
        return True  # the roster is what allows; without this the hub warns that nobody can log in

    @default("allowed_users")
    def _default_allowed_users(self) -> set[str]:
        """The hub creates these at its start, so that group filters match before anyone's first login."""
        return {person.login for person in self.accounts.roster().people}

    @default("blocked_users")
    def _default_blocked_users(self) -> set[str]:
        """The hub stops their servers and takes their rights at its start."""
        return {login for login, account in self.accounts.all().items() if not account.active}

    @property
    def accounts(self) -> Accounts:
        """The imported roster, read anew each time: an import counts at once."""
        return Accounts(self.settings.accounts_path)

    def check_blocked_users(self, username: str, authentication: dict[str, Any] | None = None) -> bool:
        """Whether ``username`` is in the roster now; asked in every case, also where ``allow_all`` is set."""
        return self.accounts.person(username) is not None

    def check_allowed(self, username: str, authentication: dict[str, Any] | None = None) -> bool:
        """The roster alone allows; another authenticator's own lists do not count."""
        return self.check_blocked_users(username, authentication)

    async def run_post_auth_hook(self, handler: Any, auth_model: dict[str, Any]) -> dict[str, Any]:
        """The last word on a login: groups and admin are the roster's, whatever another authenticator said."""
        model: dict[str, Any] = await super().run_post_auth_hook(handler, auth_model)
        person = self.accounts.person(model["name"])
        if person is None:
            raise LoginRefusedError(403, "closed", self.settings.class_.language)
        return {**model, **self._rights(person)}

    async def refresh_user(self, user: Any, handler: Any = None) -> bool | dict[str, Any]:
        """Bring a logged-in user in line with the roster; False when they left it."""
        person = self.accounts.person(user.name)
        if person is None:
            return False
        refreshed = await super().refresh_user(user, handler)
        if not refreshed:
            return False
        rights = self._rights(person)
        if refreshed is True and rights["admin"] == user.admin and _group_names(user) == set(person.groups):
            return True
        return {**({} if refreshed is True else refreshed), "name": user.name, **rights}

    async def add_user(self, user: Any) -> None:
        """Called for each user at the hub's start and for each new one: into the groups of the roster, or refused.

        Raises:
            ValueError: not in the roster.
        """
        person = self.accounts.person(user.name)
        if person is None:
            raise ValueError(f"{user.name} is not in the roster; add the line and run `gpuclass roster import`")
        await maybe_future(super().add_user(user))
        _put_into_groups(getattr(user, "orm_user", user), person.groups)

    def _rights(self, person: Person) -> dict[str, Any]:
        admin = person.role is Role.OPERATOR and operators_are_admins(self.settings)
        return {"admin": admin, "groups": list(person.groups)}


class RosterAuthenticator(RosterMixin):
    """Login with the password that ``gpuclass roster import`` generated."""

    @default("auth_refresh_strict")
    def _default_auth_refresh_strict(self) -> bool:
        return True  # refresh_user says False only to who left the class: their tokens end, too

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._throttle = Throttle(self.settings.login.failures, self.settings.login.wait)
        self._threads = ThreadPoolExecutor(HASHES_AT_ONCE, thread_name_prefix="password")

    async def authenticate(self, handler: Any, data: Mapping[str, str]) -> str:
        """The login whose password was given.

        Raises:
            HTTPError: 403 wrong or left the class, 429 too many attempts; the text is for the person at the keyboard.
        """
        login = _login_typed(data.get("username", ""))
        account = self.accounts.get(login)
        key = (login, account.password if account else None, _device(handler, login))  # a reset password starts afresh
        seconds = self._throttle.attempt(key)
        if seconds:
            self.log.warning("Login of %r refused for another %.0f s after too many attempts", login, seconds)
            raise LoginRefusedError(429, "wait", self.settings.class_.language, seconds)
        if not await self._password_matches(account, data.get("password", "")):
            self.log.warning("Wrong password for %r", login)
            raise LoginRefusedError(403, "wrong", self.settings.class_.language)
        self._throttle.succeeded(key)
        if account is None or not account.active:
            self.log.warning("Login of %r, who is not in the roster any more", login)
            raise LoginRefusedError(403, "closed", self.settings.class_.language)
        _remember_device(handler, login)
        return login

    async def _password_matches(self, account: Account | None, typed: str) -> bool:
        stored = account.password if account else None
        return await asyncio.get_running_loop().run_in_executor(self._threads, matches, stored, typed)


def authenticator_class(settings: Settings) -> type[Authenticator]:
    """The class for ``c.JupyterHub.authenticator_class``, bound to these settings.

    Raises:
        SettingsError: ``login.authenticator`` or one of ``login.options`` does not exist.
    """
    base = _named_authenticator(settings)
    bases = (base,) if issubclass(base, RosterMixin) else (RosterMixin, base)
    known = set(base.class_trait_names(config=True)) - _DECIDED_HERE
    unknown = [name for name in settings.login.options if name not in known]
    if unknown:
        raise refused(settings.path, [f"login.options: {base.__name__} has no option {', '.join(unknown)}"])
    traits = {"settings": AnyTrait(settings), "__module__": __name__, "__doc__": base.__doc__}
    for name, value in settings.login.options.items():
        traits[f"_{name}_default"] = _always(value)
    return type(f"Class{base.__name__}", bases, traits)


def _always(value: object) -> Any:
    return lambda _self: value


def _named_authenticator(settings: Settings) -> type[Authenticator]:
    name = settings.login.authenticator
    named = {entry.name: entry for entry in entry_points(group="jupyterhub.authenticators")}
    try:
        found = named[name].load() if name in named else import_item(name)
    except (ImportError, AttributeError, ValueError) as error:
        fault = (
            f"login.authenticator: {name!r} cannot be imported ({error}); it is the path of a class such as "
            f"oauthenticator.generic.GenericOAuthenticator, or one of {', '.join(sorted(named))}"
        )
        raise refused(settings.path, [fault]) from None
    if not (isinstance(found, type) and issubclass(found, Authenticator)):
        raise refused(settings.path, [f"login.authenticator: {name!r} is not a JupyterHub Authenticator class"])
    return found


def _login_typed(text: str) -> str:
    """What somebody meant: full-width letters of a Korean keyboard and capitals do not matter."""
    return unicodedata.normalize("NFKC", text[:64]).strip().lower()


def _device(handler: Any, login: str) -> str:
    """A sign that ``login`` has logged in from this browser before, empty without one.

    Their attempts are counted apart, so nobody is locked out of their own machine by who types their login elsewhere.
    """
    value = handler.get_secure_cookie(DEVICE_COOKIE, max_age_days=DEVICE_DAYS) if handler else None
    owner, _, sign = (value or b"").decode("ascii", "replace").partition(":")
    return sign if owner == login else ""


def _remember_device(handler: Any, login: str) -> None:
    if handler and not _device(handler, login):
        handler.set_secure_cookie(
            DEVICE_COOKIE,
            f"{login}:{secrets.token_hex(8)}",
            expires_days=DEVICE_DAYS,
            path=handler.hub.base_url,
            httponly=True,
            secure=handler.request.protocol == "https",
            samesite="Lax",
        )


def _group_names(user: Any) -> set[str]:
    return {group.name for group in user.groups}


def _put_into_groups(user: orm.User, names: tuple[str, ...]) -> None:
    """Make ``names`` the groups of ``user``, creating those that there are not yet."""
    session = object_session(user)
    assert session is not None  # noqa: S101  # for the type checker: a user of the hub is in the hub's database
    there = {group.name: group for group in session.query(orm.Group).filter(orm.Group.name.in_(names))}
    user.groups = [there.get(name) or orm.Group(name=name) for name in names]
    session.commit()
