"""New log-in data on its way to the people: a CSV to print cards from. It is made once and stored nowhere else."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

from gpuclass.accounts import AccountError
from gpuclass.roster import Roster

COLUMNS = ("login", "name", "role", "team", "password")


def write_logins(path: Path, roster: Roster, passwords: Mapping[str, str]) -> None:
    """Write the new passwords to a new file that only its owner can read; safely on disk when this returns.

    Where nobody got a password there is no file either.

    Raises:
        AccountError: the file is there already, or cannot be written.
    """
    if not passwords:
        return
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(descriptor, "w", encoding="utf-8-sig", newline="") as file:  # noqa: PTH123  # a descriptor, not a path
            _write(file, roster, passwords)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise AccountError(
            f"{path} is there already and may hold passwords that are nowhere else: name another file. "
            "Nothing was changed."
        ) from None
    except OSError as error:
        raise AccountError(f"{path} cannot be written: {error.strerror}. Nothing was changed.") from None


def print_logins(roster: Roster, passwords: Mapping[str, str]) -> None:
    """Print the same to standard output; nothing where nobody got a password."""
    if passwords:
        _write(sys.stdout, roster, passwords)


def _write(file: TextIO, roster: Roster, passwords: Mapping[str, str]) -> None:
    table = csv.writer(file)
    table.writerow(COLUMNS)
    for person in roster.people:
        if person.login in passwords:
            table.writerow([person.login, person.name, person.role.value, person.team, passwords[person.login]])
