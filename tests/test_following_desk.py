"""What a user's server makes of the desk's answers."""

from __future__ import annotations

import json
from email.message import Message
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest

from gpuclass.following_desk import FollowingDesk
from gpuclass.noticeboard import NoticeBoard

NOTICE = {"id": "message-1", "level": "info", "ko": "안녕", "en": "hi", "until": None}


class DeskDouble:
    """Answers as told, and keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[HTTPRequest] = []

    async def fetch(self, request: HTTPRequest) -> Any:
        self.asked.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def answer(body: object, mark: str = '"m"') -> SimpleNamespace:
    headers = Message()
    headers["ETag"] = mark
    return SimpleNamespace(body=json.dumps(body).encode(), headers=headers)


async def test_what_the_desk_tells_stands_on_the_notice_board() -> None:
    double = DeskDouble(answer({"notices": [NOTICE]}), HTTPClientError(304))
    desk = FollowingDesk("http://desk/services/desk", "secret", double)
    assert await desk.ask()
    assert await desk.ask()
    assert double.asked[1].headers["If-None-Match"] == '"m"'
    told = NoticeBoard(environ={"GPUCLASS_LANGUAGE": "ko"}, desk=desk.notices).read()["notices"]
    assert {"id": "message-1", "level": "info", "text": "안녕"} in told


@pytest.mark.parametrize(
    "broken", [OSError("away"), HTTPClientError(502), answer([]), answer({}), answer({"notices": 5})]
)
async def test_a_desk_that_is_away_or_talks_nonsense_changes_nothing(broken: Any) -> None:
    desk = FollowingDesk("http://desk", "secret", DeskDouble(answer({"notices": [NOTICE]}), broken))
    await desk.ask()
    assert not await desk.ask()
    assert desk.notices() == [NOTICE]
