"""Generated passwords and their hashes."""

import statistics
import time

import argon2
import pytest

from gpuclass import passwords
from gpuclass.passwords import ALPHABET, BITS, digest, generate, matches


def test_no_two_signs_look_alike_on_a_card() -> None:
    assert set(ALPHABET).isdisjoint("0o1il")
    assert ALPHABET.islower()
    assert len(set(ALPHABET)) == len(ALPHABET)


def test_passwords_are_three_groups_of_four_and_all_different() -> None:
    made = [generate() for _ in range(500)]
    assert len(set(made)) == 500
    assert {tuple(map(len, password.split("-"))) for password in made} == {(4, 4, 4)}
    assert set("".join(made)) == {*ALPHABET, "-"}


def test_there_are_enough_bits_for_a_light_hash() -> None:
    assert 59 < BITS < 60


def test_a_password_matches_its_hash_only() -> None:
    stored = digest("kmrt-h7xd-p4wn")
    assert "kmrt" not in stored
    assert matches(stored, "kmrt-h7xd-p4wn")
    assert not matches(stored, "kmrt-h7xd-p4wm")
    assert not matches(stored, "")
    assert digest("kmrt-h7xd-p4wn") != stored, "two people with one password can be told from the hashes"


@pytest.mark.parametrize("typed", ["KMRT-H7XD-P4WN", "kmrth7xdp4wn", " kmrt h7xd p4wn ", "kmrt\th7xd-p4wn\n"])
def test_what_a_card_cannot_show_does_not_count(typed: str) -> None:
    assert matches(digest("kmrt-h7xd-p4wn"), typed)


def test_nobody_has_the_empty_account() -> None:
    assert not matches(None, "")
    assert not matches(None, generate())


def test_the_hash_is_the_lightest_that_owasp_names() -> None:
    parameters = argon2.extract_parameters(digest("x"))
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (7 * 1024, 5, 1)
    assert parameters.type is argon2.Type.ID


def test_an_unknown_name_takes_as_long_as_a_wrong_password() -> None:
    stored = digest(generate())

    def seconds(hash_: str | None) -> float:
        started = time.process_time()
        matches(hash_, "wrong")
        return time.process_time() - started

    known, unknown = ([seconds(hash_) for _ in range(9)] for hash_ in (stored, None))
    assert statistics.median(unknown) == pytest.approx(statistics.median(known), rel=0.5)


def test_a_novel_in_the_password_field_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def plain(text: str) -> str:
        seen.append(text)
        return text

    monkeypatch.setattr(passwords, "_plain", plain)
    matches(None, "x" * 1_000_000)
    assert [len(text) for text in seen] == [100]
