"""What a receipt names is on disk before the receipt is sent: seen in the system calls of the real service.

The same calls, replayed on a disk that loses what was not synced, show what a power cut would leave. They are those of
a service that starts on nothing, and takes submissions from several people at once, over both ways in.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DatabaseError

from gpuclass.exchange.records import NotFound
from gpuclass.exchange.store.schema import JobRow
from gpuclass.exchange.store.store import Store
from tests.exchange.conftest import NOTEBOOK, Camp, running, tree
from tests.exchange.streaming import send
from tests.exchange.volatile_disk import STRACE, SYNCS, Call, VolatileDisk, calls, sent

pytestmark = pytest.mark.slow

PRESSES = 6  # of each student
CUTS = 25  # power cuts at random moments
SHARED = b"the same for everybody " * 400


@dataclass(frozen=True)
class Receipt:
    """A receipt as it left the service: the call that sent it, what it says, and what had been sent in."""

    call: Call
    said: dict[str, Any]
    files: dict[str, bytes]

    def hashes(self) -> set[str]:
        return {hashlib.sha256(content).hexdigest() for content in self.files.values()}


@dataclass(frozen=True)
class Traced:
    """All calls of a service, from its start to its end, and the receipts among them."""

    folder: Path
    trace: list[Call]
    receipts: list[Receipt]


def submit_often(camp: Camp, student: str, kept: dict[int, dict[str, bytes]]) -> None:
    chance = random.Random(student)  # noqa: S311  # sizes
    for number in range(PRESSES):
        files = {
            "warm-up.ipynb": f"{student} {number} ".encode() * chance.choice([1, 900, 4000]),
            "data/shared.csv": SHARED,
            "empty.txt": b"",
        }
        if number % 3 == 2:
            answer = camp.by(student).post("api/submission/camp/one", data={"files": tree(files)})
        else:
            answer = send(camp.by(student), "one", files)
        assert answer.status_code == 200, answer.text
        kept[answer.json()["submission"]] = files


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    folder = tmp_path_factory.mktemp("traced")
    trace = folder / "strace.out"
    kept: dict[int, dict[str, bytes]] = {}
    strace = shutil.which(STRACE[0])
    assert strace, "strace is missing: apt-get install strace"
    with running(folder, as_process=True, under=(strace, *STRACE[1:], "--output", trace)) as camp:
        camp.by("teacher").post("api/assignment/camp/one", data={"files": tree(NOTEBOOK)}).raise_for_status()
        students = [threading.Thread(target=submit_often, args=(camp, f"student{n}", kept)) for n in (1, 2, 3)]
        for student in students:
            camp.by(student.name)
            student.start()
        for student in students:
            student.join()
        pid = str(camp.process.pid) if camp.process else ""
    deadline = time.monotonic() + 20
    while not re.search(rf"^{pid} +\+\+\+", trace.read_text(encoding="ascii"), re.MULTILINE):
        assert time.monotonic() < deadline, trace.read_text()[-500:]
        time.sleep(0.05)  # strace writes the rest after the service has ended
    assert len(kept) == 3 * PRESSES
    found = calls(trace)
    receipts = list(receipts_in(found, kept))
    assert {receipt.said["submission"] for receipt in receipts} == kept.keys()
    return Traced(camp.settings.exchange_folder, found, receipts)


def receipts_in(trace: list[Call], kept: dict[int, dict[str, bytes]]) -> Iterator[Receipt]:
    for call, text in sent(trace):
        body = re.search(rb'\{"success":true,.*"submission":\d.*\}', text)
        if body:
            said = json.loads(body[0])
            yield Receipt(call, said, kept[said["submission"]])


def lost(folder: Path, receipts: list[Receipt]) -> list[str]:
    """What is not true of the receipts, if the exchange is opened on ``folder``."""
    try:
        with Store(folder / "exchange") as store:
            return [fault for receipt in receipts for fault in faults(store, receipt)]
    except (OSError, DatabaseError, sqlite3.Error) as error:
        return [f"the exchange does not open: {error}"] if receipts else []


def faults(store: Store, receipt: Receipt) -> Iterator[str]:
    try:
        submission = store.submission(receipt.said["submission"])
        files = {file.path: store.read(file) for file in store.files(submission)}
    except (NotFound, OSError) as error:
        yield f"{receipt.said['submission']}: {error}"
        return
    if (submission.sha256, files) != (receipt.said["sha256"], receipt.files):
        yield f"{submission.id}: other content"
    if job_count(store, submission.id) != 1:
        yield f"{submission.id}: not one job"


def job_count(store: Store, submission: int) -> int:
    with store.reading() as session:
        return session.scalar(select(func.count()).where(JobRow.submission == submission)) or 0


def test_everything_a_receipt_names_is_synced_before_the_receipt_is_sent(traced: Traced) -> None:
    objects, log = traced.folder / "objects", str(traced.folder / "exchange.db-wal")
    synced = [call for call in traced.trace if call.name in SYNCS]
    renames = [call for call in traced.trace if call.name.startswith("rename")]
    named = {Path(call.names()[1]).name: call for call in reversed(renames)}  # who came at once renames again
    for receipt in traced.receipts:
        in_place = 0
        for sha256 in receipt.hashes():
            rename = named[sha256]
            draft, path = rename.names()
            assert path == str(objects / sha256[:2] / sha256)
            last_write = max(
                [call.ended for call in traced.trace if call.path == draft and call.name == "write"], default=0
            )
            assert any(call.path == draft and last_write < call.began and call.ended < rename.began for call in synced)
            folder_synced = [
                call.ended
                for call in synced
                if call.path == str(objects / sha256[:2])
                and rename.ended < call.began
                and call.ended < receipt.call.began
            ]
            assert folder_synced, f"the name of {sha256} was not on disk"
            in_place = max(in_place, min(folder_synced))
        tree_sha256 = receipt.said["sha256"].encode()
        entered = min(
            call.ended
            for call in traced.trace
            if call.name == "pwrite64" and call.path == log and tree_sha256 in call.texts[0] and call.ended > in_place
        )
        assert any(call.path == log and entered < call.began and call.ended < receipt.call.began for call in synced)


@pytest.mark.parametrize("torn", [False, True], ids=["all unsynced lost", "any of it lost"])
def test_no_receipt_is_lost_by_a_power_cut_at_any_moment(traced: Traced, tmp_path: Path, torn: bool) -> None:
    chance = random.Random(20261123)  # noqa: S311  # moments
    last = traced.trace[-1].ended
    moments = [receipt.call.began for receipt in traced.receipts]
    moments += [chance.randrange(moments[0], last) for _ in range(CUTS)]
    disk = VolatileDisk(traced.folder.parent, traced.trace)
    for moment in sorted(moments):
        disk.run_until(moment)
        disk.cut_power(tmp_path / "left", chance if torn else None)
        given = [receipt for receipt in traced.receipts if receipt.call.began <= moment]
        assert lost(tmp_path / "left", given) == [], moment


@pytest.mark.parametrize(
    "left_out",
    ["/incoming/", "/objects/", "/exchange.db-wal", "/exchange"],
    ids=["of the content", "of the content's folder", "of the database", "of the exchange's folder"],
)
def test_without_a_sync_a_power_cut_loses_receipts(traced: Traced, tmp_path: Path, left_out: str) -> None:
    def ignored(call: Call) -> bool:
        return call.path.endswith(left_out) if left_out.startswith("/exchange") else left_out in call.path

    assert any(ignored(call) for call in traced.trace if call.name in SYNCS)
    disk = VolatileDisk(traced.folder.parent, traced.trace, ignored)
    disk.run_until(traced.receipts[-1].call.began)
    disk.cut_power(tmp_path / "left")
    assert lost(tmp_path / "left", traced.receipts) != []
