"""Passwords that are generated, never chosen: readable on a card, long enough that a light hash is honest."""

from __future__ import annotations

import math
import re
import secrets

import argon2

ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Lower-case letters and digits without 0/o and 1/i/l: what a card shows is what a student types."""

GROUPS, GROUP_LENGTH = 3, 4
BITS = GROUPS * GROUP_LENGTH * math.log2(len(ALPHABET))
"""59 bits: at a million guesses a second against a stolen file, over ten thousand years on average."""

_HASHER = argon2.PasswordHasher(
    # The lightest argon2id that OWASP's Password Storage Cheat Sheet names: 7 MiB, 5 passes, 1 lane. It is a tenth of
    # argon2-cffi's default, which is made for passwords that people choose; these have 59 bits of their own.
    memory_cost=7 * 1024,
    time_cost=5,
    parallelism=1,
    hash_len=32,
    salt_len=16,
)
_LENGTH_LIMIT = 100  # characters of what somebody typed; hashing a megabyte would be work for nothing


def generate() -> str:
    """A new password such as ``"kmrt-h7xd-p4wn"``; the hyphens are for the eye only."""
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP_LENGTH)) for _ in range(GROUPS))


def digest(password: str) -> str:
    """The argon2id hash to store; about 20 ms of CPU and 7 MiB."""
    return _HASHER.hash(_plain(password))


def matches(stored: str | None, typed: str) -> bool:
    """Whether ``typed`` is the password behind ``stored``.

    Without a stored hash the same work is done, so that time does not tell whether an account exists.
    Hyphens, spaces and capitals do not count: no generated password differs from another by them.
    """
    try:
        _HASHER.verify(stored or _NOBODY, _plain(typed[:_LENGTH_LIMIT]))
    except argon2.exceptions.VerifyMismatchError:
        return False
    return stored is not None


def _plain(password: str) -> str:
    return re.sub(r"[\s-]", "", password).lower()


_NOBODY = digest(secrets.token_hex())  # a hash like any other, of a password that nobody has
