"""What was pressed is kept whole or not at all, in order, bounded, and never through a link."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from gpuclass.exchange.client import outbox as outbox_module
from gpuclass.exchange.client.background import LONGEST_S, LOOK_S, Background
from gpuclass.exchange.client.corner import NOTICES_KEPT, PLACE, Corner
from gpuclass.exchange.client.folder import NotAFolder
from gpuclass.exchange.client.outbox import FIRST_TRY_S, PRESSES, NoRoom, Outbox, Piece, Press, new_key, waiting_line
from gpuclass.exchange.client.upload import Changed, Unreadable, Upload

PRESSED = "2026-11-24 09:00:00.000000 UTC"


def press(assignment: str = "day", *files: str) -> Press:
    return Press(new_key(), "camp", assignment, PRESSED, tuple(Piece(path, 0, "") for path in files), version=2)


def opener(content: bytes) -> Callable[[], BinaryIO]:
    return partial(BytesIO, content)


def keep(outbox: Outbox, files: dict[str, bytes], assignment: str = "day") -> Press:
    return outbox.keep(press(assignment, *files), {path: opener(content) for path, content in files.items()})


def test_a_kept_press_is_read_again_with_its_key_version_and_content(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    kept = keep(outbox, {"a.ipynb": b"one", "data/b.csv": b"two"})
    [found] = Outbox(tmp_path).pending()
    assert found == kept
    assert found.version == 2
    assert [piece.path for piece in found.files] == ["a.ipynb", "data/b.csv"]
    assert found.files[0].sha256 == hashlib.sha256(b"one").hexdigest()
    with outbox.open(found, 1) as file:
        assert file.read() == b"two"


def test_presses_come_back_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    made = [keep(outbox, {"a.ipynb": bytes([n])}) for n in range(12)]
    assert outbox.pending() == made
    outbox.remove(made[3])
    assert outbox.pending() == made[:3] + made[4:]
    assert sorted(path.name for path in outbox.place.iterdir() if path.name.startswith(".gone")) == []


def test_a_disk_that_fills_up_while_a_press_is_kept_leaves_nothing_of_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)

    def full() -> BinaryIO:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        outbox.keep(press("day", "a", "b"), {"a": opener(b"x" * 1000), "b": full})
    assert outbox.pending() == []
    assert [path.name for path in outbox.place.iterdir() if path.is_dir()] == []


def test_a_press_is_there_only_once_all_of_it_is_on_disk(tmp_path: Path) -> None:
    """A killed process leaves a draft that nobody takes for a press, and the next press takes it away."""
    code = (
        "import os, sys; from pathlib import Path; from io import BytesIO\n"
        "from gpuclass.exchange.client.outbox import Outbox, Press, Piece\n"
        "def die(): os._exit(9)\n"
        "press = Press('k' * 8, 'camp', 'day', 'now', ())\n"
        "Outbox(Path(sys.argv[1])).keep(press, {'a': lambda: BytesIO(b'half'), 'b': die})\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    outbox = Outbox(tmp_path)
    assert any(path.name.startswith(".draft-") for path in outbox.place.iterdir())
    assert outbox.pending() == []
    kept = keep(outbox, {"a": b"whole"})
    assert outbox.pending() == [kept]
    assert not any(path.name.startswith(".draft-") for path in outbox.place.iterdir())


def test_every_byte_is_synced_before_the_press_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    sync, rename = os.fsync, os.rename

    def synced(handle: int) -> None:
        steps.append(Path(f"/proc/self/fd/{handle}").readlink().name[:6])
        sync(handle)

    def renamed(source: str, target: str, **where: int) -> None:
        steps.append(f"= {target}")
        rename(source, target, **where)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    keep(Outbox(tmp_path), {"a": b"1", "b": b"2"})
    assert steps == ["0", "1", "press.", ".draft", "= 000001", "outbox"]


def test_the_number_and_the_bytes_of_what_is_kept_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox = Outbox(tmp_path)
    monkeypatch.setattr(outbox_module, "BYTES", 100)
    keep(outbox, {"a": b"x" * 60})
    with pytest.raises(NoRoom):
        keep(outbox, {"a": b"x" * 30, "b": b"x" * 30})
    for _ in range(PRESSES - 1):
        keep(outbox, {"a": b""})
    with pytest.raises(NoRoom):
        keep(outbox, {"a": b""})
    assert len(outbox.pending()) == PRESSES


@pytest.mark.parametrize("part", range(1, len(PLACE) + 2))
def test_an_outbox_that_leads_elsewhere_is_not_written_to(tmp_path: Path, part: int) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = home.joinpath(*[*PLACE, "outbox"][:part])
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises((NotAFolder, OSError)):
        keep(Outbox(home), {"a": b"x"})
    assert list(elsewhere.iterdir()) == []
    assert Corner(home).write({"x": 1}, "limits.json") is (part > len(PLACE))


def test_links_and_pipes_in_a_kept_press_are_not_sent(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    kept = keep(outbox, {"a": b"mine", "b": b"mine"})
    secret = tmp_path / "secret"
    secret.write_bytes(b"1234")
    for name, make in (("0", lambda path: path.symlink_to(secret)), ("1", os.mkfifo)):
        place = outbox.place / kept.folder / name
        place.unlink()
        make(place)
        with pytest.raises(OSError):  # noqa: PT011  # ELOOP or ENOENT
            outbox.open(kept, int(name))
    body = Upload(kept, [partial(outbox.open, kept, 0), partial(outbox.open, kept, 1)], queued=False)
    with pytest.raises(Changed):
        list(body)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"files": 3}', b"[" * 100_000, b'{"key": "k", "files": [1]}'])
def test_a_press_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    outbox = Outbox(tmp_path)
    broken = keep(outbox, {"a": b"x"})
    good = keep(outbox, {"a": b"y"})
    (outbox.place / broken.folder / "press.json").write_bytes(content)
    assert outbox.pending() == [good]
    outbox.set_unreadable_aside()
    [aside] = (outbox.corner.place / "refused").iterdir()  # what was pressed is still there
    assert (aside / "0").read_bytes() == b"x"
    assert [path.name for path in outbox.place.iterdir() if path.name.isdecimal()] == [good.folder]
    [notice] = outbox.corner.notices()
    assert "Submit again" in notice["en"]


def test_a_press_finds_its_place_behind_one_that_cannot_be_read(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    broken = keep(outbox, {"a": b"x"})
    (outbox.place / broken.folder / "press.json").unlink()
    refused = outbox.corner.place / "refused"
    refused.write_bytes(b"in the way: nothing can be set aside")
    good = keep(outbox, {"a": b"y"})
    assert (broken.folder, good.folder) == ("000001", "000002")
    refused.unlink()
    after = keep(outbox, {"a": b"z"})
    assert outbox.pending() == [good, after]
    assert len(list(refused.iterdir())) == 1


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO])
def test_a_press_that_cannot_be_read_this_time_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    outbox = Outbox(tmp_path)
    kept = keep(outbox, {"a": b"x"})

    def fail(*_: object) -> BinaryIO:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(outbox_module, "open_plain", fail)
        patch.setattr("gpuclass.exchange.client.corner.open_plain", fail)
        outbox.set_unreadable_aside()
    assert outbox.pending() == [kept]
    assert outbox.corner.notices() == []


def test_only_one_sends_at_a_time(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gpuclass.exchange.client.outbox import Outbox\n"
        "with Outbox(Path(sys.argv[1])).sending(0) as mine: print(mine, flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "True\n"
    with Outbox(tmp_path).sending(0) as mine:
        assert mine is False
    other.kill()
    other.wait()
    other.stdin.close()
    other.stdout.close()
    with Outbox(tmp_path).sending(0) as mine:
        assert mine is True


def test_what_is_being_sent_for_the_first_time_does_not_wait_yet(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    now = time.time()
    kept = keep(outbox, {"a": b"x"})
    assert outbox.waiting(now) == []
    assert waiting_line("en", tmp_path, now) == ""
    assert outbox.waiting(now + FIRST_TRY_S + 1) == [kept]  # whoever sent it was killed
    outbox.mark(kept)
    assert outbox.waiting(now) == [kept]
    assert waiting_line("en", tmp_path, now).startswith("Not yet sent: 1 (day).")
    assert "1개 있어요(day)" in waiting_line("ko", tmp_path, now)
    outbox.remove(kept)
    outbox.mark(kept)  # another sender was faster
    assert not (outbox.place / kept.folder).exists()


def test_notices_are_told_once_and_bounded(tmp_path: Path) -> None:
    corner = Corner(tmp_path)
    for number in range(NOTICES_KEPT + 5):
        corner.tell(f"n{number}", "info", "말", "word", 1.0)
    corner.tell("n20", "info", "말", "other word", 1.0)
    marks = [notice["id"] for notice in corner.notices()]
    assert len(marks) == NOTICES_KEPT
    assert marks.count("n20") == 1
    assert marks[-1] == "n20"


def test_a_pipe_or_a_link_where_notices_lie_is_not_waited_for(tmp_path: Path) -> None:
    corner = Corner(tmp_path)
    corner.place.mkdir(parents=True)
    os.mkfifo(corner.place / "notices.json")
    assert corner.notices() == []
    (corner.place / "notices.json").unlink()
    (corner.place / "notices.json").symlink_to("/dev/zero")
    assert corner.notices() == []


class Slept(BaseException):
    """Ends the endless loop of a test."""


def background(home: Path, left: list[bool], pauses: int) -> list[float]:
    """Run the background sender with a sleep that counts; what it paused."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)
        if len(found) == pauses:
            raise Slept

    with pytest.raises(Slept):
        asyncio.run(Background(home, lambda _: left.pop(0), sleep, chance=lambda: 1.0).run())
    return found


def test_the_server_looks_once_in_a_while_and_sends_nothing_when_nothing_waits(tmp_path: Path) -> None:
    assert background(tmp_path, [], 3) == [LOOK_S] * 3


def test_the_server_tries_with_growing_pauses_until_it_is_sent(tmp_path: Path) -> None:
    keep(Outbox(tmp_path), {"a": b"x"})
    pauses = background(tmp_path, [True] * 8 + [False], 9)
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_S, LONGEST_S, LONGEST_S, LOOK_S]


def test_a_try_that_fails_unexpectedly_is_not_the_last(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    keep(Outbox(tmp_path), {"a": b"x"})
    calls: list[int] = []

    def send(_: Path) -> bool:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("what is this")
        return False

    async def sleep(seconds: float) -> None:
        if len(calls) == 2:
            raise Slept

    with pytest.raises(Slept):
        asyncio.run(Background(tmp_path, send, sleep).run())
    assert "what is this" in caplog.text


def test_the_upload_announces_exactly_as_many_bytes_as_it_has(tmp_path: Path) -> None:
    files: dict[str, bytes] = {"a.ipynb": b"x" * 700_000, "빈 파일.txt": b"", "b": os.urandom(1000)}
    kept = keep(Outbox(tmp_path), files)
    body = Upload(kept, [opener(content) for content in files.values()], queued=True)
    pieces = list(body)
    assert sum(map(len, pieces)) == len(body)
    assert max(map(len, pieces)) <= outbox_module.CHUNK
    assert b"2026-11-24 09:00" in pieces[0]


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.ESTALE])
def test_a_file_that_cannot_be_read_this_time_is_not_taken_for_changed(code: int) -> None:
    def fail() -> BinaryIO:
        raise OSError(code, os.strerror(code))

    piece = Piece("a", 20, "0" * 64)
    with pytest.raises(Unreadable) as refusal:
        list(Upload(Press(new_key(), "camp", "day", PRESSED, (piece,)), [fail], queued=False))
    assert refusal.value.passes


@pytest.mark.parametrize("content", [b"shorter", b"it is longer than it was when pressed"])
def test_a_file_that_changed_its_length_is_not_sent(content: bytes) -> None:
    piece = Piece("a", 20, "0" * 64)
    changed: Any = Press(new_key(), "camp", "day", PRESSED, (piece,))
    with pytest.raises(Changed):
        list(Upload(changed, [opener(content)], queued=False))
