"""Simulated students: each presses Submit and goes on pressing until there is a receipt."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

import httpx

from tests.exchange.conftest import tree
from tests.exchange.streaming import form, new_key
from tests.kills.classroom import ASSIGNMENT, FULL, KillableClass, answers

PAUSE_S = 0.2  # until a client tries again
AGAIN = 0.3  # how often an answer gets lost on its way, as far as the student can tell
PASSING = frozenset((502, 503, 504))  # the hub or the exchange is away


@dataclass
class Press:
    """One press of Submit: what it is worth, and every receipt that came back for it."""

    student: str
    score: int
    key: str = field(default_factory=new_key)
    receipts: list[tuple[int, str]] = field(default_factory=list)  # number, SHA-256
    waits: int = 0


class Student(threading.Thread):
    """Hands in answers of a known score, once the class lets them."""

    def __init__(self, classroom: KillableClass, login: str, scores: list[int], allowed: threading.Semaphore) -> None:
        super().__init__(name=login, daemon=True)
        self.presses = [Press(login, score) for score in scores]
        self.unexpected: list[str] = []
        self._classroom = classroom
        self._allowed = allowed
        self._chance = random.Random(login)  # noqa: S311  # moments

    def run(self) -> None:
        """Each press until its receipt; sometimes once more, as a client does whose answer was lost."""
        with client(self._classroom, self.name) as http:
            for press in self.presses:
                self._allowed.acquire()
                files = {f"{ASSIGNMENT}.ipynb": answers(press.score)}
                while not press.receipts and not self.unexpected:
                    self._send(http, press, files)
                if self._chance.random() < AGAIN:
                    self._send(http, press, files)

    def _send(self, http: httpx.Client, press: Press, files: dict[str, bytes]) -> None:
        address = f"gpuclass/v1/submission/{self._classroom.settings.course}/{ASSIGNMENT}"
        try:
            answer = http.post(address, files=form(files), headers={"Idempotency-Key": press.key})
        except httpx.TransportError:
            press.waits += 1
            time.sleep(PAUSE_S)
            return
        if answer.status_code == 200:
            said = answer.json()
            press.receipts.append((said["submission"], said["sha256"]))
        elif answer.status_code in PASSING:
            press.waits += 1
            time.sleep(PAUSE_S)
        else:
            self.unexpected.append(f"{answer.status_code}: {answer.text}")


def client(classroom: KillableClass, login: str) -> httpx.Client:
    """What somebody sends requests to the exchange with."""
    return httpx.Client(
        base_url=f"{classroom.settings.exchange_url}/",
        headers={"Authorization": f"token {classroom.tokens[login]}"},
        timeout=60,
    )


def release(classroom: KillableClass) -> None:
    """The teacher releases the assignment."""
    with client(classroom, "teacher") as http:
        address = f"api/assignment/{classroom.settings.course}/{ASSIGNMENT}"
        http.post(address, data={"files": tree({f"{ASSIGNMENT}.ipynb": answers(0)})}).raise_for_status()


def scores_of(number: int) -> list[int]:
    """What the answers of the nth student are worth: every fourth student hands in twice, other answers each time."""
    first = number % (FULL + 1)
    return [first, FULL - first] if number % 4 == 0 else [first]
