"""Whatever names, sizes and pieces a submission comes in, the store gives back the same bytes and keeps them once."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuclass.exchange.names import UnsafeName, file_paths
from gpuclass.exchange.store.schema import CourseRow
from gpuclass.exchange.store.store import QuotaExceeded, Store
from gpuclass.exchange.store.trees import BLOCK

contents = st.lists(st.binary(max_size=20_000), max_size=4)  # the pieces in which one file comes
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
submissions = st.dictionaries(paths, contents, max_size=6)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store(tmp_path_factory.mktemp("exchange")) as store:
        with store.writing() as session:
            session.add(CourseRow(name="camp", created=store.clock()))
        store.release("camp", "one", {}, by="teacher")
        yield store


def submit(store: Store, student: str, files: dict[str, list[bytes]], quota: int | None = None) -> dict[str, bytes]:
    """Submit in pieces; returns what the store gives back."""
    drafts = {}
    try:
        for path, pieces in files.items():
            drafts[path] = store.draft()
            for piece in pieces:
                drafts[path].write(piece)
            drafts[path].finish()
        submission = store.submit("camp", "one", student, drafts, quota=quota)
    finally:
        for draft in drafts.values():
            draft.drop()
    return {file.path: store.read(file) for file in store.files(submission)}


def used_by(store: Store, student: str) -> int:
    _, used = store.before("camp", "one", student, "no such key")
    assert used is not None
    return used


@settings(deadline=None, max_examples=60)
@given(files=submissions)
def test_a_submission_comes_back_byte_for_byte_or_is_refused_for_a_name(
    store: Store, files: dict[str, list[bytes]]
) -> None:
    before = set(store.blobs)
    try:
        file_paths(files)
    except UnsafeName:
        with pytest.raises(UnsafeName):
            submit(store, "student1", files)
        assert set(store.blobs) == before
    else:
        sent = {unicodedata.normalize("NFC", path): b"".join(pieces) for path, pieces in files.items()}
        assert submit(store, "student1", files) == sent
    assert list(store.incoming.iterdir()) == []


@settings(deadline=None, max_examples=30)
@given(content=contents, students=st.lists(st.sampled_from(["student1", "student2", "student3"]), max_size=4))
def test_content_is_kept_once_however_often_and_by_whomever_it_is_sent(
    store: Store, content: list[bytes], students: list[str]
) -> None:
    submit(store, "teacher", {"first.txt": content})
    before = sorted(store.blobs)
    for student in students:
        submit(store, student, {"other name.txt": [b"".join(content)], "and again.txt": content})
    assert sorted(store.blobs) == before


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(0, 3 * BLOCK), min_size=1, max_size=5), room=st.integers(-2 * BLOCK, 2 * BLOCK))
def test_a_quota_counts_blocks_and_is_never_passed(store: Store, sizes: list[int], room: int) -> None:
    files = {f"{number}.txt": [bytes([number]) * size] for number, size in enumerate(sizes)}
    takes = sum(max(size, BLOCK) for size in sizes)
    used = used_by(store, "student4")
    quota = used + takes + room
    if room < 0:
        with pytest.raises(QuotaExceeded):
            submit(store, "student4", files, quota)
        assert used_by(store, "student4") == used
    else:
        submit(store, "student4", files, quota)
        assert used_by(store, "student4") == used + takes
