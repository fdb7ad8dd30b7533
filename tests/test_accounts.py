"""Accounts on disk: what an import changes, and that nothing is lost or readable by others."""

import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from gpuclass.accounts import AccountError, Accounts, Changes, changes, describe, import_roster
from gpuclass.passwords import digest, matches
from gpuclass.roster import Person, Role, Roster

HANEUL = Person("s01", "김하늘", Role.STUDENT, "a")
BADA = Person("s02", "이바다", Role.STUDENT, "a")
TEACHER = Person("t01", "박선생", Role.INSTRUCTOR)


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    return Accounts(tmp_path / "accounts.sqlite")


def roster(*people: Person) -> Roster:
    return Roster(people)


def test_nobody_has_an_account_before_the_first_import(accounts: Accounts) -> None:
    assert accounts.all() == {}
    assert accounts.get("s01") is None
    assert accounts.roster() == Roster(())
    assert not accounts.path.exists(), "looking made a file"


def test_an_import_gives_everybody_a_password_that_only_its_hash_is_kept_of(accounts: Accounts) -> None:
    made = import_roster(accounts, roster(TEACHER, HANEUL))
    assert set(made) == {"s01", "t01"}
    stored = accounts.get("s01")
    assert stored is not None
    assert matches(stored.password, made["s01"])
    assert not matches(stored.password, made["t01"])
    raw = accounts.path.read_bytes()
    assert not any(password.encode() in raw for password in made.values())
    assert accounts.roster() == roster(TEACHER, HANEUL)


def test_the_roster_is_read_once_and_again_after_every_import(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.apply(roster(HANEUL), {})
    assert accounts.roster() is not accounts.roster(), "a file that just changed is not remembered"

    now = time.time_ns()
    monkeypatch.setattr("gpuclass.accounts.time.time_ns", lambda: now + 2 * 10**9)
    assert accounts.roster() is accounts.roster()
    Accounts(accounts.path).apply(roster(HANEUL, BADA), {})  # by another process
    assert accounts.roster() == roster(HANEUL, BADA)
    accounts.path.unlink()
    assert accounts.roster() == Roster(())


def test_a_second_import_keeps_passwords_and_takes_over_changes(accounts: Accounts) -> None:
    first = import_roster(accounts, roster(HANEUL, TEACHER))
    moved = Person("s01", "김하늘", Role.STUDENT, "b")
    assert set(import_roster(accounts, roster(moved, TEACHER, BADA))) == {"s02"}
    assert accounts.person("s01") == moved
    stored = accounts.get("s01")
    assert stored is not None
    assert matches(stored.password, first["s01"])


def test_who_left_is_closed_and_comes_back_with_the_same_password(accounts: Accounts) -> None:
    first = import_roster(accounts, roster(HANEUL, BADA))
    import_roster(accounts, roster(BADA))
    assert accounts.person("s01") is None
    gone = accounts.get("s01")
    assert gone is not None
    assert not gone.active
    assert accounts.roster() == roster(BADA)
    assert import_roster(accounts, roster(HANEUL, BADA)) == {}
    back = accounts.get("s01")
    assert back is not None
    assert back.active
    assert matches(back.password, first["s01"])


def test_with_another_authenticator_nobody_gets_a_password_and_later_everybody_does(accounts: Accounts) -> None:
    assert import_roster(accounts, roster(HANEUL), passwords=False) == {}
    account = accounts.get("s01")
    assert account is not None
    assert account.password is None
    assert set(import_roster(accounts, roster(HANEUL))) == {"s01"}


def test_what_an_import_would_change_is_a_value() -> None:
    before = Accounts(Path("none")).all()
    assert changes(before, roster(HANEUL)) == Changes(("s01",), (), (), (), (), ("s01",))


def test_changes_name_everybody_once(accounts: Accounts) -> None:
    import_roster(accounts, roster(HANEUL, BADA, TEACHER, Person("s03", "최별", Role.STUDENT)))
    import_roster(accounts, roster(HANEUL, BADA, TEACHER))
    after = roster(
        Person("s03", "최별", Role.STUDENT),
        HANEUL,
        Person("s02", "이바다", Role.MENTOR),
        Person("s04", "정달", Role.STUDENT),
    )
    found = changes(accounts.all(), after)
    assert found == Changes(
        new=("s04",), back=("s03",), changed=("s02",), gone=("t01",), kept=("s01",), need_password=("s04",)
    )
    assert describe(found) == [
        "1 new: s04",
        "1 back again, with their old password: s03",
        "1 changed name, role or team: s02",
        "1 left, can no longer log in: t01",
        "1 get a password: s04",
        "1 as before",
    ]


def test_nothing_is_stored_when_the_passwords_cannot_be_kept(accounts: Accounts) -> None:
    def disk_full(_: dict[str, str]) -> None:
        raise AccountError("disk full")

    with pytest.raises(AccountError, match="disk full"):
        import_roster(accounts, roster(HANEUL), keep=disk_full)
    assert accounts.all() == {}


def test_only_the_owner_may_read_the_file_and_its_journal(accounts: Accounts) -> None:
    modes: set[int] = set()
    import_roster(accounts, roster(HANEUL))
    with accounts._transaction("IMMEDIATE") as connection:
        connection.execute("UPDATE account SET active = 0")
        modes |= {path.stat().st_mode & 0o777 for path in accounts.path.parent.iterdir()}
        assert len(list(accounts.path.parent.iterdir())) == 2
    assert modes == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for somebody else")
def test_what_root_imports_belongs_to_the_owner_of_the_data_folder(accounts: Accounts) -> None:
    os.chown(accounts.path.parent, 1000, 1000)
    import_roster(accounts, roster(HANEUL))
    assert accounts.path.stat().st_uid == 1000


def test_a_failed_import_leaves_all_as_it_was(accounts: Accounts) -> None:
    import_roster(accounts, roster(HANEUL))
    before = accounts.all()
    twice = Roster((BADA, Person("s03", "최별", Role.STUDENT, None)))  # type: ignore[arg-type]  # breaks NOT NULL
    with pytest.raises(AccountError, match="NOT NULL"):
        accounts.apply(twice, {})
    assert accounts.all() == before


def test_a_reset_refuses_the_old_password(accounts: Accounts) -> None:
    old = import_roster(accounts, roster(HANEUL))["s01"]
    accounts.set_password("s01", digest("new"))
    account = accounts.get("s01")
    assert account is not None
    assert matches(account.password, "new")
    assert not matches(account.password, old)


@pytest.mark.parametrize("login", ["s99", "s02"])
def test_a_reset_for_somebody_who_is_not_in_the_class_is_refused_in_words(accounts: Accounts, login: str) -> None:
    import_roster(accounts, roster(HANEUL, BADA))
    import_roster(accounts, roster(HANEUL))
    with pytest.raises(AccountError, match=rf"logs in as '{login}'.*gpuclass roster list"):
        accounts.set_password(login, digest("new"))


def test_reading_goes_on_while_others_write(accounts: Accounts) -> None:
    import_roster(accounts, roster(HANEUL))
    hash_ = digest("x")
    faults: list[Exception] = []

    def reset() -> None:
        try:
            for _ in range(20):
                accounts.set_password("s01", hash_)
        except AccountError as error:
            faults.append(error)

    writers = [threading.Thread(target=reset) for _ in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert accounts.person("s01") == HANEUL
    for writer in writers:
        writer.join()
    assert faults == []


def test_a_file_of_another_version_or_of_something_else_is_refused_in_words(accounts: Accounts) -> None:
    connection = sqlite3.connect(accounts.path)
    connection.execute("PRAGMA user_version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(AccountError, match="another version of gpuclass"):
        accounts.all()
    accounts.path.write_text("no database at all, but a long enough text to look at" * 100)
    with pytest.raises(AccountError, match="cannot be used: file is not a database"):
        accounts.all()
    with pytest.raises(AccountError, match="cannot be used"):
        import_roster(Accounts(accounts.path.parent / "no folder" / "accounts.sqlite"), roster(HANEUL))
