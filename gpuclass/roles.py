"""Who may do what: JupyterHub roles and token scopes as plain values, each scope with the reason why it is there.

Nothing else in gpuclass names a scope. docs/reference/roles.md is made from this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gpuclass.roster import Role, Roster
from gpuclass.settings import Settings

EXCHANGE_SERVICE = "exchange"
ROSTER_SERVICE = "roster"
QUEUE_SERVICE = "queue"
DESK_SERVICE = "desk"
DESK_ACCESS = f"access:services!service={DESK_SERVICE}"
EXCHANGE_ACCESS = f"access:services!service={EXCHANGE_SERVICE}"

SERVER_TOKEN: Mapping[str, str] = {
    "users:activity!user": "The user server reports that it is in use; JupyterHub insists on this scope.",
    "access:servers!server": "The server recognises requests for itself that carry its own token.",
    "read:users:name!user": "The exchange learns from this token alone whose it is.",
    "read:users:groups!user": "The exchange learns from this token alone which role and team that person has.",
    EXCHANGE_ACCESS: "Fetch, submit and read feedback; the exchange decides by role and team what exactly.",
    DESK_ACCESS: "Raise a hand, read messages, tell how far one is: at the desk this token acts for its owner alone.",
}
"""Scopes of the token in a user's container, for everybody the same: a stolen one is of little use."""


@dataclass(frozen=True)
class HubRole:
    """A JupyterHub role: who has it, and its scopes with their reasons."""

    name: str
    description: str
    scopes: Mapping[str, str]
    groups: tuple[str, ...] = ()
    services: tuple[str, ...] = ()

    def spec(self) -> dict[str, Any]:
        """The entry of ``c.JupyterHub.load_roles``."""
        return {
            "name": self.name,
            "description": self.description,
            "scopes": list(self.scopes),
            "groups": list(self.groups),
            "services": list(self.services),
        }


def hub_roles(settings: Settings) -> tuple[HubRole, ...]:
    """The class's own roles. JupyterHub adds ``user`` (scope ``self``) to everybody and ``admin`` to operators."""
    students = Role.STUDENT.group
    teaching = {
        "admin-ui": "Open the page with the list of servers; it shows only what the scopes below allow.",
        f"list:users!group={students}": "See who is in the class.",
        f"read:users:groups!group={students}": "See which team a student is in.",
        f"read:users:activity!group={students}": "See who has not been active for a while and may need help.",
        f"servers!group={students}": "Start and stop students' servers, and see whether they run.",
    }
    if settings.site.subdomains:
        teaching[f"access:servers!group={students}"] = "Help inside a student's server."
    roles = [
        HubRole(
            "class",
            "Everybody in the roster",
            {
                EXCHANGE_ACCESS: "Their server's token can only carry what they have themselves.",
                DESK_ACCESS: "Their own page; the desk decides by role and team what else.",
            },
            groups=tuple(role.group for role in Role),
        ),
        HubRole("instructor", "Instructors of the class", teaching, groups=(Role.INSTRUCTOR.group,)),
        HubRole(
            "roster-import",
            "`gpuclass roster import` while the hub runs",
            {
                "admin:users": "Create users before their first login; delete those who left, sessions and tokens too.",
                "admin:groups": "Create the groups of roles and teams and put people into them.",
            },
            services=(ROSTER_SERVICE,),
        ),
        HubRole(
            "queue",
            "The hub's own queue of starts and its seats",
            {
                "start:servers": "Start the servers that waited in the queue when the last hub ended.",
                "delete:servers": "Stop servers whose GPU seat was idle, outside lessons and after a warning.",
            },
            services=(QUEUE_SERVICE,),
        ),
    ]
    roles.append(
        HubRole(
            "desk",
            "The class desk, for whoever it has found to be allowed",
            {
                f"servers!group={students}": "Start and stop a student's server when a teacher or mentor asks for it.",
                f"read:users:name!group={students}": "Know them by their names.",
            },
            services=(DESK_SERVICE,),
        )
    )
    if not settings.site.subdomains:
        roles.append(
            HubRole(
                "operator",
                "Operators where users have no subdomains: an admin who cannot open anybody's server",
                _OPERATOR_WITHOUT_ACCESS,
                groups=(Role.OPERATOR.group,),
            )
        )
    return tuple(roles)


_OPERATOR_WITHOUT_ACCESS: Mapping[str, str] = {
    "admin-ui": "Open the admin page.",
    "admin:users": "Manage users.",
    "admin:servers": "Start, stop and delete servers.",
    "admin:groups": "Manage groups.",
    "admin:services": "Manage services.",
    "tokens": "Revoke tokens.",
    "list:services": "See which services there are.",
    "read:services": "See how they are set up.",
    "read:hub": "See the hub's version and state.",
    "read:roles": "See who has which role.",
    "read:metrics": "Watch the hub.",
    "proxy": "See and check the proxy's routes.",
    "shutdown": "Stop the hub.",
    "access:services": "Reach the exchange.",
}


def load_roles(settings: Settings, roster: Roster) -> list[dict[str, Any]]:
    """``c.JupyterHub.load_roles``: the class's roles, and exactly the operators as admins.

    Without subdomains a page that a student made runs on the domain of whoever opens it, so then nobody is admin: that
    role cannot be had without ``access:servers``.
    """
    admins = [person.login for person in roster.with_role(Role.OPERATOR)] if operators_are_admins(settings) else []
    return [{"name": "admin", "users": admins}, *(role.spec() for role in hub_roles(settings))]


def operators_are_admins(settings: Settings) -> bool:
    """Whether operators get JupyterHub's ``admin`` role, which may open everybody's server."""
    return settings.site.subdomains


def groups(roster: Roster) -> dict[str, frozenset[str]]:
    """Logins by JupyterHub group: one group for each role, empty ones included, and one for each team."""
    members: dict[str, set[str]] = {role.group: set() for role in Role}
    for person in roster.people:
        for group in person.groups:
            members.setdefault(group, set()).add(person.login)
    return {group: frozenset(logins) for group, logins in members.items()}


def server_token_scopes() -> list[str]:
    """``c.Spawner.server_token_scopes``: what the token in a user's container may do."""
    return list(SERVER_TOKEN)


def missing_scopes(expected: Iterable[str], got: Iterable[str], *, login: str, server_name: str = "") -> frozenset[str]:
    """Which of the ``expected`` scopes a token lacks.

    JupyterHub drops a scope that the user does not have from a server's token with a debug line only; whoever starts a
    server compares what was asked for with what the token got.

    Args:
        expected: scopes as configured, ``!user`` and ``!server`` filters included.
        got: ``scopes`` of the token's ``GET /hub/api/user``, or of ``orm.APIToken``.
        login: whose token it is.
        server_name: name of the server, empty for the default one.
    """
    have = {_resolved(scope, login, server_name) for scope in got}
    wanted = {_resolved(scope, login, server_name) for scope in expected}
    return frozenset(scope for scope in wanted if scope not in have and scope.partition("!")[0] not in have)


def _resolved(scope: str, login: str, server_name: str) -> str:
    name, _, filter_ = scope.partition("!")
    match filter_:
        case "user":
            return f"{name}!user={login}"
        case "server":
            return f"{name}!server={login}/{server_name}"
        case _:
            return scope
