"""Whatever is sent: either a receipt whose bytes read back equal, or a refusal with nothing stored."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuclass.exchange.store.store import Store
from tests.exchange.conftest import NOTEBOOK, Camp, running, tree
from tests.exchange.streaming import form_of, new_key

pytestmark = pytest.mark.slow

LIMIT = 3 * 1024  # bytes of a file
ALL = 5 * 1024  # bytes of four files together
NAMES = ["a", "A", "é", "e\u0301", "..", ".", "", "con", "b.ipynb", "노트", "x" * 250]
paths = st.one_of(st.text(max_size=20), st.lists(st.sampled_from(NAMES), max_size=12).map("/".join))
contents = st.one_of(
    st.binary(max_size=50),
    st.integers(LIMIT - 2, LIMIT + 2).map(bytes),
    st.sampled_from([b"\r\n--", b"\r\n\r\n", b"--b0undary--\r\n", b"\r" * 1000]),
)


@st.composite
def sendings(draw: st.DrawFn) -> tuple[dict[str, Any], list[bytes]]:
    """A manifest, and content that is mostly what it says."""
    files = draw(st.lists(st.tuples(paths, contents), max_size=5))
    entries = [
        {
            "path": path,
            "size": len(content) + draw(st.sampled_from([0] * 15 + [1, -1])),
            "sha256": hashlib.sha256(content + draw(st.sampled_from([b""] * 15 + [b"x"]))).hexdigest(),
        }
        for path, content in files
    ]
    sent = [content for _, content in files]
    if draw(st.sampled_from([False] * 9 + [True])):
        sent = draw(st.permutations([*sent, b"more"]))
    return {"files": entries}, sent


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Camp]:
    limits: dict[str, Any] = {"file_limit": "3K", "submission_limit": "5K", "files_limit": 4, "per_minute": 10_000}
    with running(tmp_path_factory.mktemp("narrow"), **limits) as camp:
        for name in ("streamed", "ngshare"):
            camp.by("teacher").post(f"api/assignment/camp/{name}", data={"files": tree(NOTEBOOK)})
        yield camp


def judge(camp: Camp, assignment: str, answer: httpx.Response, files: list[tuple[str, bytes]], before: int) -> None:
    """Either all of it is there, byte for byte, or nothing new is."""
    with Store(camp.settings.exchange_folder) as store:
        now = store.submissions("camp", assignment)
        if answer.status_code == 200:
            [new] = now[before:]
            assert new.id == answer.json()["submission"]
            kept = {file.path: store.read(file) for file in store.files(new)}
            assert kept == {unicodedata.normalize("NFC", path): content for path, content in files}
            assert len(kept) == len(files)
            assert all(len(content) <= LIMIT for content in kept.values())
            assert sum(map(len, kept.values())) == new.size <= ALL
        else:
            assert answer.status_code in (400, 413), answer.text
            assert answer.json()["message"]
            assert len(now) == before
    incoming = camp.settings.exchange_folder / "incoming"
    assert [path for path in incoming.rglob("*") if path.is_file()] == []


@given(sending=sendings())
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_a_streamed_submission_is_whole_or_not_there(narrow: Camp, sending: tuple[dict[str, Any], list[bytes]]) -> None:
    manifest, sent = sending
    with Store(narrow.settings.exchange_folder) as store:
        before = len(store.submissions("camp", "streamed"))
    parts = form_of(manifest, dict(enumerate(sent)))  # type: ignore[arg-type]  # the names are not sent
    answer = narrow.by("student1").post(
        "gpuclass/v1/submission/camp/streamed", files=parts, headers={"Idempotency-Key": new_key()}
    )
    files = [(entry["path"], content) for entry, content in zip(manifest["files"], sent, strict=False)]
    judge(narrow, "streamed", answer, files, before)


@given(files=st.dictionaries(paths, contents, max_size=5))
@settings(max_examples=100, deadline=None, derandomize=True, database=None)
def test_a_submission_by_ngshares_form_is_whole_or_not_there(narrow: Camp, files: dict[str, bytes]) -> None:
    with Store(narrow.settings.exchange_folder) as store:
        before = len(store.submissions("camp", "ngshare"))
    answer = narrow.by("student1").post("api/submission/camp/ngshare", data={"files": tree(files)})
    judge(narrow, "ngshare", answer, list(files.items()), before)
