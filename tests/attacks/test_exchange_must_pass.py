"""What must go well in any case: a whole class at the same second, whatever dies meanwhile."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpuclass.exchange.store.store import Store
from tests.attacks.raw import kept
from tests.exchange.conftest import Camp, running, tree
from tests.exchange.streaming import new_key, send

pytestmark = pytest.mark.slow

STUDENTS = [f"kid{number:02}" for number in range(80)]


@pytest.fixture
def full(tmp_path: Path) -> Any:
    """A class of eighty, whose exchange is a process of its own."""
    with running(tmp_path, as_process=True) as camp:
        teacher = camp.by("teacher")
        names = {"first_name": "", "last_name": "", "email": ""}
        people = [{"username": login, **names} for login in STUDENTS]
        assert teacher.post("api/students/camp", data={"students": json.dumps(people)}).is_success
        assert teacher.post("api/assignment/camp/one", data={"files": tree({"one.ipynb": b"{}"})}).is_success
        for login in STUDENTS:
            camp.by(login)
        yield camp


def test_eighty_at_once_with_the_exchange_killed_and_the_hub_away_lose_and_double_nothing(full: Camp) -> None:
    start = threading.Barrier(len(STUDENTS) + 1)
    receipts: dict[str, dict[str, Any]] = {}

    def press(login: str) -> None:
        """As the client does it: the same press under the same key until there is a receipt."""
        key, files = new_key(), {"one.ipynb": login.encode() * 20_000}
        start.wait()
        while login not in receipts:
            try:
                answer = send(full.by(login), "one", files, key)
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            assert answer.status_code in (200, 429, 503), answer.text
            if answer.is_success:
                receipts[login] = answer.json()
            else:
                time.sleep(0.1)

    with ThreadPoolExecutor(len(STUDENTS)) as pool:
        pressing = [pool.submit(press, login) for login in STUDENTS]
        start.wait()
        time.sleep(0.5)
        full.kill()
        assert len(receipts) < len(STUDENTS), "it was killed while they pressed"
        full.hub.down = True
        full.start()
        time.sleep(0.3)
        full.hub.down = False
        for each in pressing:
            each.result()
    stored = {entry["id"]: entry for entry in kept(full, "one")}
    assert sorted(entry["student"] for entry in stored.values()) == STUDENTS
    for login, receipt in receipts.items():
        assert stored[receipt["submission"]]["files"] == {"one.ipynb": login.encode() * 20_000}
    jobs = []
    with Store(full.settings.exchange_folder) as store:
        while (job := store.claim()) is not None:
            jobs.append(job.submission)
            store.finish(job.id)
    assert sorted(jobs) == sorted(stored)
