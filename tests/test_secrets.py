"""Tokens of the class's own processes."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files for somebody else")
def test_what_root_makes_belongs_to_the_owner_of_the_data_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 1000, 1000)
    token(tmp_path / "secrets", "hub")
    assert {(tmp_path / "secrets" / name).stat().st_uid for name in (".", "hub")} == {1000}


def test_processes_that_ask_at_once_get_the_same_token(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(lambda _: token(tmp_path / "secrets", "hub"), range(64)))) == 1
