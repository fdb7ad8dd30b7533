"""What holders of seats are told."""

import json
import os
from pathlib import Path

import pytest

from gpuclass.settings import Settings
from gpuclass.watch import notices
from gpuclass.watch.notices import Board, LoginError, Memory, Notice

GIB = 2**30
NOTICE = Notice("over-1", 1000.0, "warning", "많아요", "too much", until=1020.0)


@pytest.fixture
def board(settings: Settings) -> Board:
    return Board(settings.notices, "watch")


def test_a_notice_is_a_file_in_the_holders_folder(board: Board, settings: Settings) -> None:
    board.show("s001", [NOTICE], 1000.0, Memory(used=5, limit=4))
    file = settings.notices("s001") / "watch.json"
    assert json.loads(file.read_text()) == {
        "at": 1000.0,
        "notices": [
            {"id": "over-1", "at": 1000.0, "level": "warning", "ko": "많아요", "en": "too much", "until": 1020.0}
        ],
        "memory": {"used": 5, "limit": 4},
    }
    assert notices.read(settings.notices("s001"), "watch") == [NOTICE]
    assert [path.name for path in file.parent.iterdir()] == ["watch.json"]


def test_a_reader_never_sees_half_a_file(board: Board, settings: Settings) -> None:
    board.show("s001", [NOTICE], 1000.0)
    file = settings.notices("s001") / "watch.json"
    with file.open() as open_before:
        board.show("s001", [], 1001.0)
        assert json.load(open_before)["notices"] != []  # the old file, whole
    assert json.loads(file.read_text())["notices"] == []


def test_what_is_the_same_is_written_only_now_and_then(board: Board, settings: Settings) -> None:
    at = []
    for now in (1000.0, 1002.0, 1000.0 + notices.RENEW_S):
        board.show("s001", [NOTICE], now)
        at.append(json.loads((settings.notices("s001") / "watch.json").read_text())["at"])
    assert at == [1000.0, 1000.0, 1000.0 + notices.RENEW_S]


def test_a_notice_without_an_end_is_over_soon_after_its_writer_has_died(board: Board, settings: Settings) -> None:
    endless = Notice("over-1", 1000.0, "warning", "많아요", "too much")
    until = []
    for now in (1000.0, 1002.0, 1010.0):
        board.show("s001", [endless], now)
        until.append(notices.read(settings.notices("s001"), "watch")[0].until)
    assert until == [1000.0 + notices.HOLDS_S, 1000.0 + notices.HOLDS_S, 1010.0 + notices.HOLDS_S]
    assert notices.HOLDS_S > 2 * notices.RENEW_S


@pytest.mark.parametrize("login", ["", ".", "..", "../s002", "s001/x", "/etc", "S001", "s" * 40, "s001\n", "-", "ko한"])
def test_a_login_that_is_no_name_for_a_folder_is_refused(board: Board, settings: Settings, login: str) -> None:
    with pytest.raises(LoginError):
        board.show(login, [NOTICE], 1000.0)
    board.withdraw(login)
    assert not settings.gpus_folder.exists()


def test_the_folder_can_be_read_inside_whatever_the_umask_is(board: Board) -> None:
    before = os.umask(0o077)
    try:
        folder = board.prepare("s001")
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o755


def test_whoever_holds_no_seat_any_more_is_told_nothing(board: Board, settings: Settings, tmp_path: Path) -> None:
    for login in ("s001", "s002"):
        board.show(login, [NOTICE], 1000.0)
        Board(settings.notices, "hub").show(login, [NOTICE], 1000.0)
    started_again = Board(settings.notices, "watch")
    started_again.keep_only(["s001"], settings.notices("s001").parent)
    assert notices.read(settings.notices("s001"), "watch") == [NOTICE]
    assert notices.read(settings.notices("s002"), "watch") == []
    assert notices.read(settings.notices("s002"), "hub") == [NOTICE]  # another writer's


def test_every_text_says_figures_and_what_to_do_in_both_languages() -> None:
    told = [
        notices.over(1000, used=12 * GIB, limit=10 * GIB, seconds=20, mark="1"),
        notices.interrupted(1000, used=12 * GIB, limit=10 * GIB, seconds=20, mark="1"),
        notices.restarted(1000, used=12 * GIB, limit=10 * GIB, mark="1"),
    ]
    for notice in told:
        for text in (notice.ko, notice.en):
            assert "12.0 GiB" in text
            assert "10.0 GiB" in text
    assert len({notice.id for notice in told}) == len(told)
    assert "5분" in notices.idle(1000, seconds=300, mark="1").ko
    assert "허브 컨트롤 패널" in notices.fault(1000, device="GPU-1").ko


LAB_SHOWS = 140  # characters; the rest is behind a button


@pytest.mark.parametrize(
    ("notice", "ko", "en"),
    [
        (notices.over(1000, used=12 * GIB, limit=10 * GIB, seconds=20, mark="1"), "커널 → 커널 종료", "batch smaller"),
        (
            notices.interrupted(1000, used=12 * GIB, limit=10 * GIB, seconds=20, mark="1"),
            "empty_cache()",
            "empty_cache()",
        ),
        (
            notices.restarted(1000, used=12 * GIB, limit=10 * GIB, mark="1"),
            "배치 크기나 모델을 줄인",
            "Make batch or model",
        ),
        (notices.fault(1000, device="GPU-1"), "껐다 켜면", "stop and start"),
        (notices.idle(1000, seconds=300, mark="1"), "GPU를 쓰는 셀을 실행", "Run a cell that uses the GPU"),
    ],
    ids=lambda value: value.id if isinstance(value, Notice) else "",
)
def test_what_to_do_stands_in_the_part_that_lab_shows(notice: Notice, ko: str, en: str) -> None:
    assert ko in notice.ko[:LAB_SHOWS]
    assert en in notice.en[:LAB_SHOWS]
