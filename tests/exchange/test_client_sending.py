"""Submit with an exchange that is away, slow, full or coming back: a press is one submission, and the truth is told."""

from __future__ import annotations

import errno
import os
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from nbgrader.exchange import ExchangeError
from nbgrader.server_extensions.assignment_list.handlers import AssignmentList

from gpuclass.assignments import plain, with_notes
from gpuclass.exchange.client import connection as connections
from gpuclass.exchange.client.connection import Connection, NotReached, Refused
from gpuclass.exchange.client.corner import Corner
from gpuclass.exchange.client.outbox import Outbox, Piece, Press, new_key
from gpuclass.exchange.client.plugin import files_in
from gpuclass.exchange.client.sender import send_what_waits
from gpuclass.exchange.client.upload import Upload
from gpuclass.exchange.wire import show_time
from gpuclass.noticeboard import NoticeBoard
from tests.exchange.conftest import NOTEBOOK, Camp, running, tree
from tests.exchange.test_client import CLASSES, PLUGIN, Desk, contents, write

pytestmark = pytest.mark.slow

ANSWER = {"warm-up.ipynb": b'{"cells": ["my answer"]}'}


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Camp, Desk]]:
    """A student who has fetched an assignment from an exchange that is then killed; patience is short."""
    monkeypatch.setattr(connections, "BACKOFF_S", 0.01)
    monkeypatch.setattr("gpuclass.exchange.client.submit.SUBMIT_PATIENCE_S", 0.2)
    (tmp_path / "camp").mkdir()
    with running(tmp_path / "camp", as_process=True) as camp:
        camp.by("teacher").post("api/assignment/camp/day", data={"files": tree(NOTEBOOK)})
        student = Desk(camp, "student1", tmp_path / "student1", monkeypatch)
        student.do("FetchAssignment", "day")
        write(student.folder / "day", ANSWER)
        camp.kill()
        yield camp, student


def press(student: Desk, assignment: str = "day") -> str:
    """Press Submit; what the person is told when it is no receipt."""
    with pytest.raises(ExchangeError) as told:
        student.do("Submit", assignment)
    return str(told.value)


def sent(camp: Camp, assignment: str = "day") -> list[dict[str, Any]]:
    """What the exchange has, oldest first."""
    answer = camp.by("teacher").get(f"gpuclass/v1/submissions/camp/{assignment}").json()
    return sorted(answer["submissions"], key=lambda item: item["submission"])


def test_when_the_exchange_is_away_it_says_so_keeps_the_press_and_sends_it_later(away: tuple[Camp, Desk]) -> None:
    camp, student = away
    text = press(student)
    assert text.startswith("Not yet submitted. The exchange does not answer just now. It is kept as it was")
    assert text.endswith("(not yet sent: 1)")
    write(student.folder / "day", {"warm-up.ipynb": b"edited after the press"})
    assert send_what_waits(student.home, student.environment) is True  # still away
    camp.start()
    assert send_what_waits(student.home, student.environment) is False
    [submission] = sent(camp)
    assert submission["queued"] is not None
    assert submission["version"] == 1
    assert files_in(camp.by("teacher").get("api/submission/camp/day/student1").json()) == ANSWER  # as it was pressed
    assert Outbox(student.home).pending() == []


def test_pressed_again_with_the_same_content_is_one_submission(away: tuple[Camp, Desk]) -> None:
    camp, student = away
    for _ in range(3):
        assert "(not yet sent: 1)" in press(student)
    camp.start()
    student.do("Submit", "day")
    assert len(sent(camp)) == 1
    student.do("Submit", "day")  # but who has a receipt and presses again submits again
    assert len(sent(camp)) == 2


def test_pressed_again_with_other_content_is_two_submissions_in_order(away: tuple[Camp, Desk]) -> None:
    camp, student = away
    press(student)
    write(student.folder / "day", {"warm-up.ipynb": b'{"cells": ["better, and longer"]}'})
    assert "(not yet sent: 2)" in press(student)
    camp.start()
    send_what_waits(student.home, student.environment)
    assert [item["size"] for item in sent(camp)] == [24, 33]


def test_a_new_press_sends_what_waits_before_it(away: tuple[Camp, Desk]) -> None:
    camp, student = away
    press(student)
    write(student.folder / "day", {"warm-up.ipynb": b'{"cells": ["better, and longer"]}'})
    camp.start()
    student.do("Submit", "day")
    assert [(item["size"], item["queued"] is not None) for item in sent(camp)] == [(24, True), (33, False)]


def test_a_receipt_that_was_lost_on_its_way_is_given_again(away: tuple[Camp, Desk]) -> None:
    camp, student = away
    press(student)
    [kept] = Outbox(student.home).pending()
    camp.start()
    place = Outbox(student.home).place
    shutil.copytree(place / kept.folder, place / "again")
    send_what_waits(student.home, student.environment)
    (place / "again").rename(place / "000009")  # as if the sender had been killed before it could forget it
    assert send_what_waits(student.home, student.environment) is False
    assert len(sent(camp)) == 1


def test_lab_shows_what_waits_and_then_the_receipt(away: tuple[Camp, Desk], tmp_path: Path) -> None:
    camp, student = away
    board = NoticeBoard(environ={"GPUCLASS_LANGUAGE": "ko"}, notices=tmp_path, home=student.home)
    assert board.read()["notices"] == []
    press(student)
    [notice] = board.read()["notices"]
    assert notice["level"] == "warning"
    assert notice["text"].startswith("아직 못 보낸 제출이 1개 있어요(day).")
    camp.start()
    send_what_waits(student.home, student.environment)
    [notice] = board.read()["notices"]
    [submission] = sent(camp)
    assert notice["level"] == "info"
    assert notice["text"].startswith("아까 누른 제출을 이제 보냈어요: day · ")
    assert f"접수 번호 {submission['submission']}" in notice["text"]


def test_a_definite_no_is_told_and_not_tried_again(away: tuple[Camp, Desk], tmp_path: Path) -> None:
    camp, student = away
    press(student)
    camp.start()
    camp.by("teacher").delete("api/assignment/camp/day")
    assert send_what_waits(student.home, student.environment) is False
    [notice] = NoticeBoard(environ={"GPUCLASS_LANGUAGE": "en"}, notices=tmp_path, home=student.home).read()["notices"]
    assert notice["level"] == "error"
    assert "What you submitted earlier to day was not taken." in notice["text"]
    [kept] = (student.home / ".local/share/gpuclass/refused").iterdir()  # as it was pressed: it may be edited by now
    assert (kept / "0").read_bytes() == ANSWER["warm-up.ipynb"]


def test_a_disk_that_fails_while_a_press_is_sent_loses_nothing(
    away: tuple[Camp, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    camp, student = away
    camp.start()

    def fail(*_: object) -> BinaryIO:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "open", fail)
        assert "Not yet submitted. A file to be sent cannot be read just now. It is kept" in press(student)
        assert send_what_waits(student.home, student.environment) is True
    assert send_what_waits(student.home, student.environment) is False
    assert len(sent(camp)) == 1


def test_a_login_that_has_ended_loses_nothing(away: tuple[Camp, Desk]) -> None:
    camp, student = away
    camp.start()
    token = camp.hub.users.pop("token-of-student1")
    text = press(student)
    assert "Not yet submitted. Your login is no longer valid." in text
    assert send_what_waits(student.home, student.environment) is True
    camp.hub.users["token-of-student1-new"] = token
    new = {**student.environment, "JUPYTERHUB_API_TOKEN": "token-of-student1-new"}
    assert send_what_waits(student.home, new) is False
    assert len(sent(camp)) == 1


def test_while_another_sender_is_at_work_a_press_waits_for_its_turn(away: tuple[Camp, Desk]) -> None:
    camp, student = away
    camp.start()
    with Outbox(student.home).sending(0) as mine:
        assert mine
        assert "What you submitted before is still being sent. It is kept" in press(student)
    assert sent(camp) == []
    assert send_what_waits(student.home, student.environment) is False
    assert len(sent(camp)) == 1


def test_a_press_that_another_sender_has_just_sent_is_submitted(
    away: tuple[Camp, Desk], caplog: pytest.LogCaptureFixture
) -> None:
    _, student = away
    press(student)
    outbox = Outbox(student.home)
    [kept] = outbox.pending()
    caplog.set_level("INFO")
    with outbox.sending(0):  # it has its receipt, and is about to be let go
        outbox.remember(
            kept, {"timestamp": show_time_now(), "size": 24, "submission": 17, "late": False, "due": None, "version": 1}
        )
        student.do("Submit", "day")
    assert "receipt 17" in caplog.text


def test_the_nbgrader_command_fails_and_says_that_it_is_kept(away: tuple[Camp, Desk]) -> None:
    camp, student = away
    configuration = [f'c.ExchangeFactory.{t} = "{PLUGIN}.{name}"' for t, name in CLASSES.items()]
    (student.folder / "nbgrader_config.py").write_text("\n".join(configuration))
    patience = (
        "import gpuclass.exchange.client.submit as s; s.SUBMIT_PATIENCE_S = 0.1; "
        "from nbgrader.apps import NbGraderApp; "
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{patience}NbGraderApp.launch_instance(['submit', 'day'])"],
        cwd=student.folder,
        env={"PATH": os.environ["PATH"], **student.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Not yet submitted." in done.stderr
    assert "Submitted:" not in done.stderr
    camp.start()
    assert send_what_waits(student.home, student.environment) is False
    assert len(sent(camp)) == 1


@contextmanager
def full_home(student: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A home that can take nothing more."""
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr("gpuclass.exchange.client.outbox._copy", full)
        patch.setattr("gpuclass.exchange.client.corner.write_synced", full)
        yield


def test_a_full_home_still_submits_and_says_so_when_it_cannot(
    away: tuple[Camp, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    camp, student = away
    with full_home(student, monkeypatch):
        text = press(student)
        assert "There was no room in your home to keep it, either. Press again" in text
        assert "by itself" not in text
        camp.start()
        student.do("Submit", "day")
    assert len(sent(camp)) == 1


def test_the_list_shows_what_is_not_sent_yet(away: tuple[Camp, Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    camp, student = away
    press(student)
    configuration = [f'c.ExchangeFactory.{t} = "{PLUGIN}.{name}"' for t, name in CLASSES.items()]
    (student.folder / "nbgrader_config.py").write_text("\n".join(configuration))
    for name, value in {**student.environment, "JUPYTER_CONFIG_DIR": str(student.folder)}.items():
        monkeypatch.setenv(name, value)
    manager = AssignmentList()
    manager.root_dir = str(student.folder)
    silent = plain(manager.list_assignments("camp"))["value"]
    assert silent.startswith("The list of assignments could not be fetched.")
    assert "Not yet sent: 1 (day)." in silent
    camp.start()
    [submitted] = [item for item in manager.list_assignments("camp")["value"] if item["status"] == "submitted"]
    assert submitted["submissions"][0]["timestamp"].startswith("not yet sent · pressed at ")


def test_the_tab_shows_the_deadline_below_the_name_and_takes_the_name_back(
    away: tuple[Camp, Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    camp, student = away
    camp.start()
    camp.by("teacher").put("gpuclass/v1/deadline/camp/day", data={"due": "2020-01-01 09:00:00.000000 UTC"})
    entry = student.listed("day")
    assert entry["note"] == "was due Wed 1 Jan 18:00; what you submit now is late"
    shown = with_notes({"success": True, "value": [dict(entry)]})["value"][0]
    assert shown["assignment_id"] == f"day\n{entry['note']}"
    student.do("Submit", "day")
    [submission] = student.submissions("day")
    assert submission["late"] is True
    assert submission["timestamp"].endswith(" · late")


def test_a_corrected_assignment_comes_with_the_list_and_the_submission_says_what_it_answers(
    away: tuple[Camp, Desk], caplog: pytest.LogCaptureFixture
) -> None:
    camp, student = away
    camp.start()
    camp.by("teacher").put("gpuclass/v1/assignment/camp/day", data={"files": tree({**NOTEBOOK, "new.txt": b"new"})})
    student.do("Submit", "day")
    assert [item["version"] for item in sent(camp)] == [1]
    assert (student.folder / "day/new.txt").read_bytes() == b"new"
    caplog.set_level("INFO")
    corrected = {"warm-up.ipynb": b'{"cells": ["corrected"], "metadata": {}}'}
    camp.by("teacher").put("gpuclass/v1/assignment/camp/day", data={"files": tree(corrected)})
    student.listed("day")
    assert contents(student.folder / "day")["warm-up.ipynb"] == ANSWER["warm-up.ipynb"]
    assert (student.folder / "day/warm-up (version 3).ipynb").exists()
    lines = [record.message for record in caplog.records if "new version 3" in record.message]
    assert len(lines) == 1
    assert lines[0] in [notice["en"] for notice in Corner(student.home).notices()]
    student.listed("day")
    student.do("Submit", "day")
    assert [item["version"] for item in sent(camp)] == [1, 2]  # version 2 had the same notebook; 3 does not
    with pytest.raises(ExchangeError, match="is there already"):
        student.do("FetchAssignment", "day")


def test_fetching_again_brings_a_newer_version(away: tuple[Camp, Desk]) -> None:
    camp, student = away
    camp.start()
    camp.by("teacher").put("gpuclass/v1/assignment/camp/day", data={"files": tree({**NOTEBOOK, "new.txt": b"new"})})
    student.do("FetchAssignment", "day")
    assert contents(student.folder / "day") == {**ANSWER, "new.txt": b"new"}


def test_a_submission_is_two_requests_on_one_connection(
    camp: Camp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camp.by("teacher").post("api/assignment/camp/two-requests", data={"files": tree(NOTEBOOK)})
    student = Desk(camp, "student1", tmp_path / "student1", monkeypatch)
    write(student.folder / "two-requests", NOTEBOOK)
    with counting(camp) as (url, counted):
        monkeypatch.setattr(Desk, "environment", {**student.environment, "GPUCLASS_EXCHANGE_URL": url})
        student.do("Submit", "two-requests")
    assert [line.split(" ")[0] for line in counted["requests"]] == ["GET", "POST"]
    assert counted["connections"] == 1


@contextmanager
def counting(camp: Camp) -> Iterator[tuple[str, dict[str, Any]]]:
    """A relay before the exchange that counts connections and requests."""
    import httpx

    counted: dict[str, Any] = {"connections": 0, "requests": []}

    class Relay(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            counted["connections"] += 1
            super().setup()

        def relay(self) -> None:
            counted["requests"].append(self.requestline)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            url = camp.settings.exchange_url.split("/services/")[0] + self.path
            answer = httpx.request(self.command, url, headers=dict(self.headers), content=body)
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = relay  # noqa: N815  # the base class's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Relay) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        path = camp.settings.exchange_url.split("/", 3)[3]
        yield f"http://127.0.0.1:{server.server_address[1]}/{path}", counted
        server.shutdown()


Reply = tuple[int, dict[str, str], bytes]


@contextmanager
def answering(replies: list[Reply | None]) -> Iterator[tuple[str, list[str]]]:
    """A double of the exchange that gives these answers in turn, None for hanging up; and the keys it was sent."""
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            keys.append(self.headers.get("Idempotency-Key", ""))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            reply = replies.pop(0)
            if reply is None:
                return
            status, headers, body = reply
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer  # noqa: N815  # the base class's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", keys
        server.shutdown()


class Clock:
    """Time that passes by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def patient(url: str, clock: Clock, patience_s: float = 20.0) -> Connection:
    return Connection(url, "token", "en", patience_s, sleep=clock.sleep, clock=lambda: clock.now, chance=lambda: 0.5)


FINE: Reply = (200, {}, b'{"success": true, "submission": 17}')


def said(status: int, **headers: str) -> Reply:
    return status, headers, b'{"success": false, "message": "no"}'


def upload(connection: Connection) -> dict[str, Any]:
    pressed = Press(new_key(), "camp", "day", show_time_now(), (Piece("a", 0, "0" * 64),))
    opener: Callable[[], Any] = lambda: Path("/dev/null").open("rb")  # noqa: E731, SIM115  # closed by Upload
    return connection.upload("day", key="k" * 8, body=lambda: Upload(pressed, [opener], queued=False))


def show_time_now() -> str:
    from datetime import UTC, datetime

    return show_time(datetime.now(UTC))


def test_failures_that_pass_are_tried_again_with_growing_pauses_under_the_same_key() -> None:
    clock = Clock()
    with answering([None, said(500), said(503), said(504), FINE]) as (url, keys):
        assert upload(patient(url, clock))["submission"] == 17
    assert keys == ["k" * 8] * 5
    assert clock.slept == [0.3, 0.6, 1.2, 2.4]


def test_somebody_who_waits_is_told_after_twenty_seconds() -> None:
    clock = Clock()
    with answering([said(503)] * 50) as (url, _), pytest.raises(Refused):
        upload(patient(url, clock))
    assert 10 < clock.now <= 20


def test_a_wait_that_the_exchange_asks_for_is_kept_if_it_is_short() -> None:
    clock = Clock()
    with answering([said(429, **{"Retry-After": "5"}), FINE]) as (url, _):
        upload(patient(url, clock))
    assert clock.slept == [5.0]
    with answering([said(429, **{"Retry-After": "45"})]) as (url, _), pytest.raises(Refused) as refused:
        upload(patient(url, Clock()))
    assert refused.value.passes


@pytest.mark.parametrize(("status", "passes"), [(507, True), (302, True), (501, False), (413, False), (404, False)])
def test_what_will_not_pass_in_seconds_is_not_tried_again_at_once(status: int, passes: bool) -> None:
    clock = Clock()
    with answering([said(status)]) as (url, _), pytest.raises(Refused) as refused:
        upload(patient(url, clock))
    assert clock.slept == []
    assert refused.value.passes is passes


def test_what_arrived_damaged_is_sent_once_more() -> None:
    with answering([said(400), FINE]) as (url, _):
        assert upload(patient(url, Clock()))["submission"] == 17
    with answering([said(400), said(400)]) as (url, _), pytest.raises(Refused) as refused:
        upload(patient(url, Clock()))
    assert not refused.value.passes


def test_a_release_is_sent_again_only_if_nothing_of_it_was_received() -> None:
    clock = Clock()
    with answering([None]) as (url, _), pytest.raises(Refused):
        patient(url, clock).post("assignment", files="[]")
    assert clock.slept == []
    with pytest.raises(NotReached):
        patient(url, clock).post("assignment", files="[]")  # nobody listens there any more
    assert clock.slept != []


def test_a_hundred_megabytes_are_sent_without_being_in_memory(tmp_path: Path) -> None:
    import resource

    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(100 * 2**20)
    pressed = Press(new_key(), "camp", "day", show_time_now(), (Piece("a", 100 * 2**20, "0" * 64),))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            left = int(self.headers["Content-Length"])
            while left > 0:
                left -= len(self.rfile.read(min(left, 2**18)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(FINE[2])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        connection = Connection(f"http://127.0.0.1:{server.server_address[1]}", "token", "en")
        openers = [lambda: large.open("rb")]
        connection.upload("day", key="k" * 8, body=lambda: Upload(pressed, openers, queued=False))
        connection.close()
        server.shutdown()
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 30 * 1024
