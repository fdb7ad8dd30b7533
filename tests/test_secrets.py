"""Tokens of the class's own processes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gpuclass.secrets import token


def test_a_token_is_made_once_and_stays(tmp_path: Path) -> None:
    first = token(tmp_path / "secrets", "hub")
    assert len(first) == 64
    assert token(tmp_path / "secrets", "hub") == first
    assert token(tmp_path / "secrets", "exchange") != first


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    token(tmp_path / "secrets", "hub")
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert [(p.name, p.stat().st_mode & 0o777) for p in (tmp_path / "secrets").iterdir()] == [("hub", 0o600)]


def test_processes_that_ask_at_once_get_the_same_token(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(lambda _: token(tmp_path / "secrets", "hub"), range(64)))) == 1
