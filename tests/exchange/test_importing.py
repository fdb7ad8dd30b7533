"""A course comes in from plain folders: whole, once, and without trust in who made them."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gpuclass.errors import UsageError
from gpuclass.exchange.operating.exportfile import NotAnExport
from gpuclass.exchange.operating.exporting import export
from gpuclass.exchange.operating.importing import Imported, take, without_keeping
from gpuclass.exchange.operating.importsources import LeftOut, Root, find, moment
from gpuclass.exchange.operating.verifying import verify
from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.deadlines import Deadlines
from gpuclass.exchange.store.schema import MemberRow
from gpuclass.exchange.store.store import Store, Submission
from gpuclass.roster import Roster
from gpuclass.settings import ExchangeSection
from tests.exchange.stocknbgrader import Stock, write

NINE = datetime(2026, 11, 23, 0, 0, tzinfo=UTC)
NOW = NINE + timedelta(days=90)
MONTH = timedelta(days=30)
SEOUL = "Asia/Seoul"
NOTEBOOK = {"warm-up.ipynb": b'{"cells": []}'}
LIMITS = ExchangeSection.model_validate({"file_limit": "64K", "submission_limit": "128K", "files_limit": 5})


class Opened:
    """A store and the imports into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder, lambda: NOW)

    def take(self, folder: Path, course: str = "camp", **options: Any) -> Imported:
        with closing(Root(folder)) as root:
            found = find(root, course, LIMITS, SEOUL, NOW)
            return take(self.store, self.store.blobs, root, found, options.pop("into", course), **options)

    def look(self, folder: Path, **options: Any) -> Imported:
        with closing(Root(folder)) as root, without_keeping(self.folder) as copy:
            return take(copy, None, root, find(root, "camp", LIMITS, SEOUL, NOW), "camp", **options)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Opened]:
    opened = Opened(tmp_path / "here")
    with opened.store:
        yield opened


TABLES = {
    "assignments": "SELECT name, hidden FROM assignments WHERE course = ? ORDER BY name",
    "releases": "SELECT assignment, version, released, released_by, tree FROM releases WHERE course = ?"
    " ORDER BY assignment, id",
    "deadlines": "SELECT assignment, student, due, made, made_by FROM deadlines WHERE course = ?"
    " ORDER BY assignment, id",
    "trees": "SELECT sha256, files FROM trees WHERE ? <> '' ORDER BY sha256",
    "submissions": "SELECT s.assignment, student, received, r.version, s.tree, size, space, key, queued"
    " FROM submissions s JOIN releases r ON r.id = s.release WHERE s.course = ? ORDER BY s.id",
    "feedback": "SELECT assignment, student, received, created, released, f.tree, score, max_score"
    " FROM feedback f JOIN submissions s ON s.id = f.submission WHERE course = ? ORDER BY s.id, f.id",
    "jobs": "SELECT assignment, student, received, requested_by, state, error, attempts, j.queued, started, finished"
    " FROM jobs j JOIN submissions s ON s.id = j.submission"
    " WHERE course = ? AND state IN ('done', 'failed') ORDER BY s.id, j.id",
}


def dump(folder: Path) -> dict[str, list[Any]]:
    """Everything that a course is, but for the numbers of rows and what waits to be graded."""
    with closing(sqlite3.connect(folder / "exchange.db")) as database:
        return {table: database.execute(query, ["camp"]).fetchall() for table, query in TABLES.items()}


# Our own export, there and back

MOMENTS = st.datetimes(datetime(2026, 11, 1), datetime(2026, 11, 30)).map(lambda when: when.replace(tzinfo=UTC))  # noqa: DTZ001
STUDENTS = st.sampled_from(["s1", "s2", "김하늘"])
ASSIGNMENTS = st.sampled_from(["warm-up", "둘째 과제"])
FILES = st.dictionaries(
    st.sampled_from(["a.ipynb", "data/b.csv", "timestamp.txt", "submission_secret.txt/x", "한글.ipynb"]),
    st.binary(max_size=40),
    max_size=3,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("release"), ASSIGNMENTS, FILES),
        st.tuples(st.just("hide"), ASSIGNMENTS),
        st.tuples(st.just("due"), ASSIGNMENTS, st.none() | STUDENTS, st.none() | MOMENTS),
        st.tuples(st.just("submit"), ASSIGNMENTS, STUDENTS, FILES, MOMENTS, st.integers(1, 3), st.none() | MOMENTS),
        st.tuples(st.just("grade"), st.none() | st.text(max_size=9)),
        st.tuples(st.just("feedback"), st.integers(0, 9), FILES, st.booleans(), st.none() | st.floats(0, 9)),
    ),
    max_size=25,
)


def play(store: Store, steps: list[tuple[Any, ...]], after: timedelta = timedelta()) -> None:
    """Any history of a course; submissions come so much later."""
    sent: list[Submission] = []
    for number, (what, *values) in enumerate(steps):
        known = store.assignments("camp")
        if what == "release":
            store.release("camp", values[0], values[1], by="teacher", again=True)
        elif what == "grade":
            job = store.claim()
            if job is not None:
                store.finish(job.id, error=values[0])
        elif what == "feedback" and sent:
            store.put_feedback(
                sent[values[0] % len(sent)], values[1], released=values[2], score=values[3], max_score=9.0
            )
        elif what == "hide" and values[0] in known:
            store.hide_assignment("camp", values[0])
        elif what == "due" and values[0] in known:
            Deadlines(store).put("camp", values[0], values[2], by="teacher", student=values[1])
        elif what == "submit" and values[0] in known:
            name, student, files, received, version, queued = values
            key = f"key-{after.days}-{number:08}" if number % 2 else None
            sent.append(
                store.submit(
                    "camp", name, student, files, received=received + after, version=version, key=key, queued=queued
                )
            )


@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(steps=STEPS, more=STEPS)
def test_a_course_goes_out_and_in_without_a_loss_and_twice_is_once(
    steps: list[tuple[Any, ...]], more: list[tuple[Any, ...]]
) -> None:
    with TemporaryDirectory() as scratch:
        place = Path(scratch)
        with Store(place / "there", lambda: NINE) as there:
            Courses(there, "camp", lambda: Roster(()))
            there.release("camp", "warm-up", NOTEBOOK, by="teacher")
            play(there, steps)
            export(place / "there", "camp", place / "out", NOW)
            here = Opened(place / "here")
            with here.store:
                first = here.take(place / "out")
                assert first.left_out == []
                assert dump(place / "here") == dump(place / "there")
                again = here.take(place / "out")
                assert (again.submissions, again.assignments, again.releases, again.feedback) == (0, 0, 0, 0)
                assert again.there == first.submissions
                assert dump(place / "here") == dump(place / "there")
                assert verify(place / "here").damages == []
                assert here.store.claim() is None, "nothing is graded that was not asked for"
                play(there, more, MONTH)  # the course goes on where it was, and its export is taken once more
                export(place / "there", "camp", place / "later", NOW)
                assert here.take(place / "later").left_out == []
                ours, theirs = dump(place / "here"), dump(place / "there")
                for table in ("releases", "deadlines", "submissions"):
                    assert ours[table] == theirs[table]


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Store]:
    """A small course somewhere else."""
    with Store(tmp_path / "there", lambda: NINE) as store:
        Courses(store, "camp", lambda: Roster(()))
        store.release("camp", "warm-up", NOTEBOOK, by="teacher")
        for minutes, content in enumerate((b"first", b"second")):
            received = NINE + timedelta(minutes=minutes)
            store.submit("camp", "warm-up", "s1", {"warm-up.ipynb": content}, received=received)
        yield store


@pytest.fixture
def out(there: Store, tmp_path: Path) -> Path:
    """Its export."""
    export(tmp_path / "there", "camp", tmp_path / "out", NOW)
    return tmp_path / "out"


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "gpuclass-camp.jsonl").read_text().splitlines()]


def rewrite(out: Path, edit: Callable[[list[dict[str, Any]]], object]) -> None:
    found = lines(out)
    edit(found)
    text = "".join(json.dumps(line) + "\n" for line in found)
    (out / "gpuclass-camp.jsonl").write_text(text)


def test_a_course_that_went_on_is_taken_again_with_what_is_new(there: Store, out: Path, here: Opened) -> None:
    here.take(out)
    there.release("camp", "warm-up", {"warm-up.ipynb": b"corrected"}, by="teacher", again=True)
    third = there.submit("camp", "warm-up", "s1", {"warm-up.ipynb": b"third"}, received=NINE + timedelta(hours=1))
    there.put_feedback(third, {"warm-up.html": b"good"}, released=True)
    export(out.parent / "there", "camp", out.parent / "later", NOW)
    done = here.take(out.parent / "later")
    assert (done.releases, done.submissions, done.feedback, done.there, done.left_out) == (1, 1, 1, 2, [])
    assert dump(here.folder) == dump(out.parent / "there")


def test_grading_is_asked_for_and_then_of_each_latest(out: Path, here: Opened) -> None:
    assert here.take(out, grade=True).graded == 1
    job = here.store.claim()
    assert job is not None
    assert here.store.submission(job.submission).received == NINE + timedelta(minutes=1)
    assert here.store.claim() is None


def test_a_dry_run_says_the_same_and_changes_nothing(out: Path, here: Opened) -> None:
    Courses(here.store, "other", lambda: Roster(()))
    planned = here.look(out, grade=True)
    assert not any((here.folder / "objects").glob("*/*"))
    assert Courses(here.store, "other", lambda: Roster(())).all() == ["other"]
    assert here.take(out, grade=True) == planned
    assert planned.submissions == 2


def test_under_another_name_it_is_another_course(out: Path, here: Opened) -> None:
    here.take(out, into="autumn")
    assert len(here.store.submissions("autumn", "warm-up")) == 2
    with pytest.raises(UsageError, match="cannot be a course's name here"):
        here.take(out, into="a/b")


def test_what_is_here_stays_what_students_fetch_and_by_when(out: Path, here: Opened) -> None:
    Courses(here.store, "camp", lambda: Roster(()))
    here.store.release("camp", "warm-up", {"warm-up.ipynb": b"ours"}, by="teacher")
    Deadlines(here.store).put("camp", "warm-up", NOW, by="teacher")
    rewrite(out, lambda found: found[1]["deadlines"].append(
        {"student": None, "due": NINE.isoformat(), "made": NINE.isoformat(), "by": "somebody"}
    ))  # fmt: skip
    done = here.take(out)
    assert done.notes == [
        "warm-up is here already with other files; what students fetch stays as it is.",
        "warm-up has deadlines of its own here; they stay.",
    ]
    assert here.store.read(here.store.released_files("camp", "warm-up")[0]) == b"ours"
    assert Deadlines(here.store).of("camp", "warm-up").due == NOW
    assert done.submissions == 2


def test_an_older_submission_never_becomes_the_latest(out: Path, here: Opened) -> None:
    Courses(here.store, "camp", lambda: Roster(()))
    here.store.release("camp", "warm-up", NOTEBOOK, by="teacher")
    latest = here.store.submit("camp", "warm-up", "s1", {"warm-up.ipynb": b"today"}, received=NOW)
    done = here.take(out)
    assert (done.submissions, len(done.left_out)) == (0, 2)
    assert "s1 has a later submission to warm-up here" in done.left_out[0]
    assert here.store.latest_submission("camp", "warm-up", "s1") == latest


def test_nobody_becomes_an_instructor_by_a_file(there: Store, here: Opened, tmp_path: Path) -> None:
    with there.writing() as session:
        session.add(MemberRow(course="camp", login="mallory", role="instructor"))
    export(tmp_path / "there", "camp", tmp_path / "out", NOW)
    assert "only from somebody you trust" in here.take(tmp_path / "out").notes[0]
    members = Courses(here.store, "camp", lambda: Roster(())).members
    assert members("camp") == {}
    assert here.take(tmp_path / "out", members=True).members == 1
    assert members("camp")["mallory"].part == "instructor"


def sent(found: list[dict[str, Any]]) -> dict[str, Any]:
    return next(line for line in found if line["kind"] == "submission")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda line: line.update(received="1999-01-01T00:00:00Z"), "is no time of a course"),
        (lambda line: line.update(received="2027-11-23T00:00:00Z"), "cannot be when it came"),
        (lambda line: line.update(received="2026-11-23T00:00:00"), "timezone"),
        (lambda line: line.update(queued="9999-12-31T23:59:59Z"), "is no time of a course"),
        (lambda line: line.update(student="../s1"), "is no name that the exchange takes"),
        (lambda line: line.update(assignment="a+b"), "is no name that the exchange takes"),
        (lambda line: line.update(version=0), "greater than or equal to 1"),
        (lambda line: line.update(more=1), "Extra inputs are not permitted"),
        (lambda line: line["files"][0].update(path="../x"), "is no file name that the exchange takes"),
        (lambda line: line["files"].append(line["files"][0]), "is no file name that the exchange takes"),
        (lambda line: line["files"][0].update(place="../../../etc/passwd"), "leads out of the folder"),
        (lambda line: line["files"][0].update(place="/etc/passwd"), "leads out of the folder"),
        (lambda line: line["files"][0].update(place="gone"), "cannot be read"),
        (lambda line: line["files"][0].update(place=None), "was damaged when it was exported"),
        (lambda line: line["files"][0].update(sha256="0" * 64), "is not what it was when it was exported"),
        (lambda line: line["files"][0].update(size=3), "does not have the size it should have"),
        (lambda line: line["files"][0].update(size=2**40), "file_limit is 64K"),
    ],
)
def test_a_line_that_lies_is_left_out_and_named(
    out: Path, here: Opened, edit: Callable[[dict[str, Any]], object], said: str
) -> None:
    rewrite(out, lambda found: edit(sent(found)))
    done = here.take(out)
    assert done.submissions == 1
    assert len(done.left_out) == 1
    assert said in done.left_out[0]
    assert verify(here.folder).damages == []


def test_a_file_beside_that_is_cut_or_foreign_takes_nothing(out: Path, here: Opened) -> None:
    file = out / "gpuclass-camp.jsonl"
    whole = file.read_bytes()
    for content in (whole[:-30], whole[: whole.rindex(b"\n", 0, -1) + 1], whole + whole, b"", b"hello\n", b"[" * 10**6):
        file.write_bytes(content)
        with pytest.raises(NotAnExport):
            here.take(out)
    rewritten = lines_of(whole)
    rewritten[0]["format"] = 2
    file.write_text("".join(json.dumps(line) + "\n" for line in rewritten))
    with pytest.raises(NotAnExport, match="of format 2"):
        here.take(out)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(NotAnExport, match="not a plain file"):
        here.take(out)


def lines_of(text: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# nbgrader's own exchange


@pytest.fixture
def stock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stock:
    return Stock(tmp_path / "root", "camp", tmp_path / "home", monkeypatch)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_stock_nbgrader_made_is_taken_with_times_and_feedback(stock: Stock, here: Opened) -> None:
    stock.release("warm-up", NOTEBOOK)
    before = datetime.now(UTC)
    for student, content in (("s1", b"first"), ("s2", b"other"), ("s1", b"second")):
        stock.submit("warm-up", student, {"warm-up.ipynb": content})
    stock.collect("warm-up")
    stock.release_feedback("warm-up", "s1", {"warm-up.html": b"<p>good</p>"})
    with closing(Root(stock.root)) as root:
        found = find(root, "camp", LIMITS, SEOUL, datetime.now(UTC))
        done = take(here.store, here.store.blobs, root, found, "camp")
    assert (done.assignments, done.submissions, done.feedback, done.left_out) == (1, 3, 1, [])
    mine = here.store.submissions("camp", "warm-up", "s1")
    assert [here.store.read(here.store.files(each)[0]) for each in mine] == [b"first", b"second"]
    assert before <= mine[0].received < mine[1].received <= datetime.now(UTC)
    assert [file.path for file in here.store.files(mine[0])] == ["warm-up.ipynb"], "nbgrader's own files are not theirs"
    feedback = here.store.feedback(mine[1])
    assert feedback is not None
    assert feedback.released
    assert here.store.read(here.store.feedback_files(feedback)[0]) == b"<p>good</p>"
    assert here.store.feedback(mine[0]) is None
    assert here.store.released_files("camp", "warm-up")[0].path == "warm-up.ipynb"
    assert here.store.claim() is None


SENT = "s1+warm-up+2026-11-23 09:00:00.000000 UTC+abc"


def plain(folder: Path, name: str = SENT, files: dict[str, bytes] | None = None) -> Path:
    """A submission as nbgrader's exchange has it."""
    place = folder / "camp" / "inbound" / name
    write(place, {"warm-up.ipynb": b"{}", **(files or {})})
    return place


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An exchange of nbgrader with one released assignment."""
    write(tmp_path / "root" / "camp" / "outbound" / "warm-up", NOTEBOOK)
    return tmp_path / "root"


def test_feedback_of_an_older_nbgrader_is_found_by_what_was_submitted(root: Path, here: Opened) -> None:
    plain(root)
    key = "camp+warm-up+warm-up+s1+2026-11-23 09:00:00.000000 UTC"
    page = hashlib.md5(b"{}" + key.encode(), usedforsecurity=False).hexdigest()
    write(root / "camp" / "feedback", {f"{page}.html": b"good", "other.html": b"bad"})
    assert here.take(root).feedback == 1


def test_without_its_release_an_assignment_stays_hidden_until_there_is_one(root: Path, here: Opened) -> None:
    plain(root, "s1+pixels+2026-11-23 09:00:00.000000 UTC+abc")
    assert here.take(root).notes[0].startswith("pixels: its files as released are not there, so it stays hidden")
    assert here.store.assignments("camp") == ["warm-up"]
    here.store.release("camp", "pixels", NOTEBOOK, by="teacher", again=True)
    assert len(here.store.submissions("camp", "pixels")) == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("s1+warm-up+1999-01-01 09:00:00.000000 UTC+abc", "cannot be when it came"),
        ("s1+warm-up+2028-01-01 09:00:00.000000 UTC+abc", "cannot be when it came"),
        ("s1+warm-up+2026-13-01 09:00:00.000000 UTC+abc", "is no time"),
        ("s1+warm-up+yesterday+abc", "is no time that nbgrader writes"),
        ("s1+warm-up+2026-11-23 09:00:00.000000 PST+abc", "the zone 'PST' is not known here"),
        ("..+warm-up+2026-11-23 09:00:00.000000 UTC+abc", "is no name that the exchange takes"),
        ("s1+.hidden+2026-11-23 09:00:00.000000 UTC+abc", "is no name that the exchange takes"),
        ("s\u202e1+warm-up+2026-11-23 09:00:00.000000 UTC+abc", "is no name that the exchange takes"),
        ("nonsense", "its name is not STUDENT+ASSIGNMENT+TIME"),
    ],
)
def test_a_folder_with_an_impossible_name_is_left_out_and_named(root: Path, here: Opened, name: str, said: str) -> None:
    plain(root)
    plain(root, name)
    done = here.take(root)
    assert done.submissions == 1
    assert len(done.left_out) == 1
    assert repr(f"inbound/{name}") in done.left_out[0]
    assert said in done.left_out[0]


def test_a_name_that_is_no_text_is_left_out(root: Path, here: Opened) -> None:
    plain(root, os.fsdecode(b"s1+warm\xff+2026-11-23 09:00:00.000000 UTC+abc"))
    done = here.take(root)
    assert (done.submissions, len(done.left_out)) == (0, 1)
    done.left_out[0].encode()  # can be printed


def link(place: Path) -> None:
    (place / "link.csv").symlink_to("/etc/passwd")


def link_to_a_folder(place: Path) -> None:
    (place / "etc").symlink_to("/etc")


def pipe(place: Path) -> None:
    os.mkfifo(place / "pipe")


def twin(place: Path) -> None:
    (place / "Warm-Up.IPYNB").write_bytes(b"other")


def odd_name(place: Path) -> None:
    (place / "a:b.csv").write_bytes(b"x")


def deep(place: Path) -> None:
    """Deeper than Python's stack."""
    os.chdir(place)
    for _ in range(1500):
        Path("d").mkdir()
        os.chdir("d")


@pytest.mark.parametrize("plant", [link, link_to_a_folder, pipe, twin, odd_name, deep])
def test_what_is_no_plain_file_with_a_safe_name_is_left_out_and_the_rest_taken(
    root: Path, here: Opened, plant: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = plain(root)
    monkeypatch.chdir(root)
    plant(place)
    os.chdir(root)
    done = here.take(root)
    subprocess.run(["rm", "-r", root], check=True)  # shutil's own cannot go so deep
    assert done.submissions == 1
    assert len(done.left_out) == 1
    assert done.left_out[0].endswith("; the rest was taken.")
    (sent,) = here.store.submissions("camp", "warm-up")
    assert [(file.path, here.store.read(file)) for file in here.store.files(sent)] == [("warm-up.ipynb", b"{}")]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"large.bin": b"0" * 65_537}, "'large.bin' has 64K; [exchange] file_limit is 64K"),
        ({f"{n}.bin": b"0" * 60_000 for n in range(3)}, "[exchange] submission_limit is 128K"),
        ({f"{n}.csv": b"" for n in range(9)}, "more files than [exchange] files_limit, 5"),
    ],
)
def test_what_is_over_the_limits_is_left_out_whole(
    root: Path, here: Opened, files: dict[str, bytes], said: str
) -> None:
    write(plain(root), files)
    done = here.take(root)
    assert (done.submissions, len(done.left_out)) == (0, 1)
    assert said in done.left_out[0]


def test_a_sparse_terabyte_is_not_read(root: Path, here: Opened) -> None:
    with (plain(root) / "large.bin").open("wb") as file:
        file.truncate(2**40)
    assert "file_limit is 64K" in here.take(root).left_out[0]


def test_a_submission_that_is_a_link_is_not_followed(root: Path, here: Opened) -> None:
    place = plain(root)
    elsewhere = place.rename(root / "elsewhere")
    place.symlink_to(elsewhere)
    done = here.take(root)
    assert (done.submissions, len(done.left_out)) == (0, 1)
    assert "is no folder" in done.left_out[0]


def test_a_course_that_is_a_link_holds_nothing(root: Path, here: Opened) -> None:
    (root / "camp").rename(root / "real")
    (root / "camp").symlink_to(root / "real")
    assert here.take(root).assignments == 0


def test_where_the_two_times_differ_the_folders_name_counts_and_it_is_said(root: Path, here: Opened) -> None:
    plain(root, files={"timestamp.txt": b"2026-11-22 09:00:00.000000 UTC"})
    assert "timestamp.txt has another time" in here.take(root).notes[0]
    assert here.store.submissions("camp", "warm-up")[0].received == NINE + timedelta(hours=9)


def test_two_at_one_moment_are_two_and_stay_two(root: Path, here: Opened) -> None:
    name = "s1+warm-up+2026-11-23 09:00:00.000000 UTC"
    plain(root, f"{name}+abc", {"warm-up.ipynb": b"1"})
    plain(root, f"{name}+def", {"warm-up.ipynb": b"2"})
    assert [here.take(root).submissions for _ in range(3)] == [2, 0, 0]


def test_a_course_that_is_not_there_is_named_with_those_that_are(root: Path, here: Opened, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no course 'champ'\. Courses there: 'camp'"):
        here.take(root, "champ")
    with pytest.raises(UsageError, match="should hold COURSE/inbound"):
        here.take(root / "camp" / "outbound" / "warm-up", "champ")
    with pytest.raises(UsageError, match="cannot be opened"):
        here.take(tmp_path / "none")


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("2026-11-23 09:00:00.123456 UTC", datetime(2026, 11, 23, 9, 0, 0, 123456, tzinfo=UTC)),
        ("2026-11-23 09:00:00 UTC\n", datetime(2026, 11, 23, 9, 0, tzinfo=UTC)),
        ("2026-11-23 09:00:00.5 GMT", datetime(2026, 11, 23, 9, 0, 0, 500000, tzinfo=UTC)),
        ("2026-11-23 18:00:00.000000 +0900", datetime(2026, 11, 23, 9, 0, tzinfo=UTC)),
        ("2026-11-23T04:00:00 -05:00", datetime(2026, 11, 23, 9, 0, tzinfo=UTC)),
        ("2026-11-23 18:00:00.000000 KST", datetime(2026, 11, 23, 9, 0, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_nbgrader_writes_it(text: str, when: datetime) -> None:
    assert moment(text, SEOUL) == when


@given(st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1)), st.integers(-12, 14))  # noqa: DTZ001
def test_a_time_with_an_offset_keeps_its_moment(when: datetime, hours: int) -> None:
    aware = when.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert moment(aware.strftime("%Y-%m-%d %H:%M:%S.%f %z"), SEOUL) == aware


@given(st.text())
def test_any_text_is_a_time_or_is_left_out(text: str) -> None:
    with suppress(LeftOut):
        assert moment(text, SEOUL).tzinfo == UTC
