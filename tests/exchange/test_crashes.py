"""Kill -9 of the service at random moments while a class hands in: no receipt lacks its bytes, no press is double.

``GPUCLASS_CRASHES`` says how often; `make crash` kills it 200 times.
"""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from gpuclass.exchange.store.schema import JobRow
from gpuclass.exchange.store.store import Store
from tests.exchange.conftest import NOTEBOOK, Camp, running, tree
from tests.exchange.streaming import new_key, send

CRASHES = int(os.environ.get("GPUCLASS_CRASHES", "6"))
STUDENTS = ("student1", "student2", "student3", "mentor1")
LONGEST_S = 1.0  # from an answer of the service to its next kill, and from its start
PAUSE_S = 0.05  # until a client tries again


@dataclass
class Press:
    """One press of Submit: what was sent under one key, and every receipt that came back."""

    student: str
    key: str
    files: dict[str, bytes]
    receipts: list[tuple[int, str, str]] = field(default_factory=list)  # number, timestamp, SHA-256


class Client(threading.Thread):
    """A student who hands in again and again, each time until there is a receipt."""

    def __init__(self, camp: Camp, student: str, ending: threading.Event) -> None:
        super().__init__(name=student)
        self.presses: list[Press] = []
        self.unexpected: list[str] = []
        self._http = camp.by(student)
        self._ending = ending
        self._chance = random.Random(student)  # noqa: S311  # sizes

    def run(self) -> None:
        """Until it is told to end; what was begun is sent to its end."""
        while not self._ending.is_set() and not self.unexpected:
            own = secrets.token_bytes(self._chance.choice([1, 5_000, 300_000]))
            press = Press(self.name, new_key(), {"warm-up.ipynb": own, "shared.csv": b"for all " * 1000})
            self.presses.append(press)
            while not press.receipts and not self.unexpected:
                self._send(press)
            if self._chance.random() < 0.3:  # the answer got lost on its way, as far as this student can tell
                self._send(press)

    def _send(self, press: Press) -> None:
        try:
            answer = send(self._http, "one", press.files, press.key)
        except httpx.TransportError:
            time.sleep(PAUSE_S)
            return
        if answer.status_code == 200:
            said = answer.json()
            press.receipts.append((said["submission"], said["timestamp"], said["sha256"]))
        else:
            self.unexpected.append(answer.text)


def kill_at_random(camp: Camp, chance: random.Random) -> None:
    """A kill within a second of the service's answering, or while it starts."""
    time.sleep(chance.uniform(0, LONGEST_S))
    camp.kill()
    if chance.random() < 0.1:
        camp.launch()
        time.sleep(chance.uniform(0, LONGEST_S))
        camp.kill()
    camp.start()


@pytest.mark.slow
@pytest.mark.timeout(60 + 15 * CRASHES)
def test_no_kill_loses_a_receipt_or_doubles_a_submission(tmp_path: Path) -> None:
    chance = random.Random(20261123)  # noqa: S311  # moments
    ending = threading.Event()
    with running(tmp_path, as_process=True, per_minute=100_000, student_limit="100G") as camp:
        camp.by("teacher").post("api/assignment/camp/one", data={"files": tree(NOTEBOOK)}).raise_for_status()
        clients = [Client(camp, student, ending) for student in STUDENTS]
        for client in clients:
            client.start()
        try:
            for _ in range(CRASHES):
                kill_at_random(camp, chance)
        finally:
            ending.set()
            for client in clients:
                client.join()
    assert [text for client in clients for text in client.unexpected] == []
    presses = [press for client in clients for press in client.presses]
    with Store(camp.settings.exchange_folder) as store:
        kept = store.submissions("camp", "one")
        with store.reading() as session:
            jobs = Counter(session.scalars(select(JobRow.submission)))
        lost = sum(not has_what_was_sent(store, press, receipt) for press in presses for receipt in press.receipts)
    doubled = len(kept) - len({(submission.student, submission.key) for submission in kept})
    receipts = sum(len(press.receipts) for press in presses)
    print(  # `make crash` shows it
        f"\nkills={CRASHES} submissions={len(kept)} receipts={receipts} lost={lost} doubled={doubled}"
    )
    assert (lost, doubled) == (0, 0)
    assert all(len(set(press.receipts)) == 1 for press in presses)  # pressed again, the same receipt
    assert {submission.key for submission in kept} == {press.key for press in presses}
    assert jobs == Counter(submission.id for submission in kept)
    assert len(kept) >= CRASHES  # there was a load


def has_what_was_sent(store: Store, press: Press, receipt: tuple[int, str, str]) -> bool:
    """Whether the submission that a receipt names is this press's, with its bytes."""
    number, _, sha256 = receipt
    submission = store.submission(number)
    files = {file.path: store.read(file) for file in store.files(submission)}
    return (submission.student, submission.key, submission.sha256, files) == (
        press.student,
        press.key,
        sha256,
        press.files,
    )
