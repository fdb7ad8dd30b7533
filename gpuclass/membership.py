"""Makes the users and groups of a running hub those of the roster, by its REST API; a starting hub does so itself."""

from __future__ import annotations

from collections.abc import Collection
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from gpuclass.errors import PlainError
from gpuclass.roles import groups
from gpuclass.roster import Roster

TIMEOUT_S = 60  # deleting a user stops their server first
CONNECT_S = 3
PAGE = 200  # JupyterHub's own limit for one answer


class HubError(PlainError):
    """The running hub refused or broke off; the text says what that means and what to do."""


class Hub:
    """The part of the hub's REST API that the roster needs.

    Args:
        url: ``settings.hub_api``.
        token: the roster service's token.
    """

    def __init__(self, url: str, token: str) -> None:
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"token {token}"},
            timeout=TIMEOUT_S,
            trust_env=False,  # the hub is on this machine; a proxy for the internet cannot reach it
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def running(self) -> bool:
        """Whether a hub answers; a router that answers for an address nobody has is none."""
        try:
            answer = self._http.get("/", timeout=CONNECT_S)
            return answer.is_success and "version" in answer.json()
        except (httpx.TransportError, ValueError):
            return False

    def users(self) -> set[str]:
        """Logins of all users the hub knows."""
        return {user["name"] for user in self._pages("/users")}

    def groups(self) -> dict[str, set[str]]:
        """Logins by group."""
        return {group["name"]: set(group["users"]) for group in self._pages("/groups")}

    def synchronise(self, roster: Roster) -> None:
        """Create, move and delete until the hub's users and groups are exactly the roster's.

        Raises:
            HubError: the hub refused; running it again continues where it stopped.
        """
        there = self.users()
        here = {person.login for person in roster.people}
        for login in sorted(there - here):
            self._ask("DELETE", f"/users/{quote(login)}")
        if here - there:
            self._ask("POST", "/users", {"usernames": sorted(here - there)})
        self._synchronise_groups(groups(roster))

    def _synchronise_groups(self, wanted: dict[str, frozenset[str]]) -> None:
        there = self.groups()
        for name, members in wanted.items():
            path = f"/groups/{quote(name)}"
            if name not in there:
                self._ask("POST", path, {"users": sorted(members)})
                continue
            self._change_members("POST", path, members - there[name])
            self._change_members("DELETE", path, there[name] - members)
        for name in there.keys() - wanted.keys():
            self._ask("DELETE", f"/groups/{quote(name)}")

    def _change_members(self, method: str, path: str, members: Collection[str]) -> None:
        if members:
            self._ask(method, f"{path}/users", {"users": sorted(members)})

    def _pages(self, path: str) -> list[Any]:
        found: list[Any] = []
        while True:
            page = self._ask("GET", f"{path}?offset={len(found)}&limit={PAGE}")
            found += page
            if len(page) < PAGE:
                return found

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            raise HubError(f"the hub did not answer {method} {path}: {error}. {_AGAIN}") from error
        if answer.is_error:
            raise HubError(f"the hub answered {method} {path} with {answer.status_code}: {answer.text[:200]}. {_AGAIN}")
        return answer.json() if answer.content else None


_AGAIN = "The accounts are as imported; run `gpuclass roster import` again, or restart the hub, to bring it in line."
