"""The imported roster and its password hashes: one SQLite file that the command line writes and the hub reads.

What was imported last is what counts: an edit of the CSV changes nobody's rights until ``gpuclass roster import``.
Passwords are never stored, nor kept after they have been shown once.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gpuclass.errors import PlainError
from gpuclass.passwords import digest, generate
from gpuclass.roster import Person, Role, Roster

SCHEMA_VERSION = 1
BUSY_WAIT_S = 10  # how long a reader waits for an import to commit, and an import for another one
_SETTLED_NS = 10**9  # a file that was written more recently may be written again within one tick of its time stamps
_State = tuple[int, int, int]  # when the file was written, its size, its inode
_SCHEMA = """
CREATE TABLE account (
    login TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    team TEXT NOT NULL,
    position INTEGER NOT NULL,  -- line order of the roster
    active INTEGER NOT NULL,    -- 0 for somebody who is no longer in the roster
    password TEXT               -- argon2id; NULL where another authenticator checks who somebody is
) STRICT;
"""


class AccountError(PlainError):
    """Something about accounts that the operator can put right; the text says how."""


@dataclass(frozen=True)
class Account:
    """Somebody who is or was in the class."""

    person: Person
    active: bool
    password: str | None
    """Hash of the password; None where there is none."""


@dataclass(frozen=True)
class Changes:
    """What an import changes; each is a tuple of logins in the order of the roster."""

    new: tuple[str, ...]
    back: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    kept: tuple[str, ...]
    need_password: tuple[str, ...]


def changes(before: Mapping[str, Account], roster: Roster, *, passwords: bool = True) -> Changes:
    """What importing ``roster`` over ``before`` changes.

    Args:
        before: the accounts there are, by login.
        roster: the new roster.
        passwords: whether everybody needs a password; not so where another authenticator is used.
    """
    new, back, changed, kept, need_password = [], [], [], [], []
    for person in roster.people:
        account = before.get(person.login)
        if account is None:
            new.append(person.login)
        elif not account.active:
            back.append(person.login)
        elif account.person != person:
            changed.append(person.login)
        else:
            kept.append(person.login)
        if passwords and (account is None or account.password is None):
            need_password.append(person.login)
    gone = [login for login, account in before.items() if account.active and roster.get(login) is None]
    return Changes(tuple(new), tuple(back), tuple(changed), tuple(gone), tuple(kept), tuple(need_password))


def import_roster(
    accounts: Accounts, roster: Roster, *, passwords: bool = True, keep: Callable[[dict[str, str]], None] | None = None
) -> dict[str, str]:
    """Make the accounts those of ``roster``; new passwords by login, which are nowhere else.

    Args:
        accounts: the accounts to change.
        roster: everybody who shall be able to log in.
        passwords: whether who has no password gets one; not so where another authenticator is used.
        keep: called with the new passwords before anything is stored; raise there to change nothing.
    """
    fresh = {login: generate() for login in changes(accounts.all(), roster, passwords=passwords).need_password}
    hashes = hash_passwords(fresh)
    if keep:
        keep(fresh)
    accounts.apply(roster, hashes)
    return fresh


def hash_passwords(passwords: Mapping[str, str]) -> dict[str, str]:
    """Hashes by login of passwords by login, on all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return dict(zip(passwords, threads.map(digest, passwords.values()), strict=True))


class Accounts:
    """The file of accounts; safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[_State, Roster] | None = None

    def all(self) -> dict[str, Account]:
        """Every account by login, active ones and those of people who left, in the order of the roster."""
        return {account.person.login: account for account in self._select("ORDER BY active DESC, position, login")}

    def get(self, login: str) -> Account | None:
        """The account of ``login``, also of somebody who left."""
        found = self._select("WHERE login = ?", login)
        return found[0] if found else None

    def person(self, login: str) -> Person | None:
        """The person who is in the class as ``login``; None for strangers and for those who left."""
        account = self.get(login)
        return account.person if account and account.active else None

    def roster(self) -> Roster:
        """The roster as it was imported last; the same object as before while the file is the same.

        The exchange asks for it at every request, and reading five hundred people takes 2 ms.
        """
        state, read = _state(self.path), self._read
        if read is not None and read[0] == state:
            return read[1]
        roster = Roster(tuple(account.person for account in self.all().values() if account.active))
        self._read = None if state is None else (state, roster)  # of that state or newer: then it is read again
        return roster

    def apply(self, roster: Roster, hashes: Mapping[str, str]) -> None:
        """Make the accounts those of ``roster``, all or nothing.

        Args:
            roster: everybody who shall be able to log in; who is missing keeps the account, but closed.
            hashes: by login, for those who get a password; others keep theirs.
        """
        with self._transaction("IMMEDIATE") as connection:
            _prepare(connection, self.path)
            connection.execute("UPDATE account SET active = 0")
            connection.executemany(
                "INSERT INTO account (login, name, role, team, position, active, password)"
                " VALUES (?, ?, ?, ?, ?, 1, ?)"
                " ON CONFLICT (login) DO UPDATE SET name = excluded.name, role = excluded.role, team = excluded.team,"
                " position = excluded.position, active = 1, password = coalesce(excluded.password, account.password)",
                [
                    (person.login, person.name, person.role.value, person.team, number, hashes.get(person.login))
                    for number, person in enumerate(roster.people)
                ],
            )

    def set_password(self, login: str, password_hash: str) -> None:
        """Replace one password; the old one is refused from then on.

        Raises:
            AccountError: nobody in the class has this login.
        """
        with self._transaction("IMMEDIATE") as connection:
            _prepare(connection, self.path)
            done = connection.execute(
                "UPDATE account SET password = ? WHERE login = ? AND active = 1", (password_hash, login)
            )
            if not done.rowcount:
                raise AccountError(
                    f"nobody in the class logs in as {login!r}. `gpuclass roster list` shows who does; somebody new "
                    "goes into the roster and in with `gpuclass roster import`."
                )

    def _select(self, clause: str, *values: str) -> list[Account]:
        if not self.path.exists():
            return []
        with self._transaction("DEFERRED") as connection:
            if not _version(connection, self.path):
                return []  # somebody is just making the file
            rows = connection.execute(
                f"SELECT login, name, role, team, active, password FROM account {clause}",  # noqa: S608  # own clauses only
                values,
            )
            return [_account(row) for row in rows]

    @contextmanager
    def _transaction(self, kind: str) -> Iterator[sqlite3.Connection]:
        """A connection in a transaction that is committed at the end and rolled back by an exception."""
        try:
            _create(self.path)
            with closing(sqlite3.connect(self.path, timeout=BUSY_WAIT_S, isolation_level=None)) as connection:
                connection.execute(f"BEGIN {kind}")
                try:
                    yield connection
                except BaseException:
                    connection.execute("ROLLBACK")
                    raise
                connection.execute("COMMIT")
        except (OSError, sqlite3.DatabaseError) as error:
            raise AccountError(f"the accounts in {self.path} cannot be used: {error}") from error


def _state(path: Path) -> _State | None:
    """What changes with every commit to the file; None if that was too recently to tell, or is not there.

    By its status alone: to open and close it here would drop the locks that SQLite holds for other threads.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if time.time_ns() - status.st_mtime_ns < _SETTLED_NS:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _create(path: Path) -> None:
    """Make the file before SQLite does: its own would be readable for everybody, and its journal copies the mode."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        if os.geteuid() == 0:  # `sudo gpuclass roster import` makes a file that the hub can still open
            folder = path.parent.stat()
            os.fchown(descriptor, folder.st_uid, folder.st_gid)
    finally:
        os.close(descriptor)


def _version(connection: sqlite3.Connection, path: Path) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, SCHEMA_VERSION):
        raise AccountError(f"{path} was written by another version of gpuclass (format {version}).")
    return version


def _account(row: tuple[str, str, str, str, int, str | None]) -> Account:
    login, name, role, team, active, password = row
    return Account(Person(login, name, Role(role), team), bool(active), password)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    if not _version(connection, path):
        connection.execute(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def describe(changes: Changes) -> list[str]:
    """What an import changes, a line for each kind."""
    kinds = (
        ("new", changes.new),
        ("back again, with their old password", changes.back),
        ("changed name, role or team", changes.changed),
        ("left, can no longer log in", changes.gone),
        ("get a password", changes.need_password),
    )
    lines = [f"{len(logins)} {kind}: {', '.join(logins)}" for kind, logins in kinds if logins]
    return [*lines, f"{len(changes.kept)} as before"]
