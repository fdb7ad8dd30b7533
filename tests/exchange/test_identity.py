"""Who a token belongs to; the hub's answers are those of a mock transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gpuclass.exchange.service.identity import FRESH_S, REMEMBERED, STALE_S, HubUnreachable, Identity, token_of
from tests.exchange.conftest import SCOPE, user


class Hub:
    """Answers with what it is told; counts."""

    def __init__(self, answer: Callable[[], httpx.Response]) -> None:
        self.answer = answer
        self.asked: list[httpx.Request] = []
        self.now = 0.0
        self.identity = Identity("http://hub/hub/api", clock=lambda: self.now, transport=httpx.MockTransport(self))

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answer()


def says(content: Any, status: int = 200) -> Hub:
    return Hub(lambda: httpx.Response(status, json=content))


async def test_a_user_with_the_scope_is_known_by_name() -> None:
    hub = says(user("student1"))
    assert await hub.identity.login("abc") == "student1"
    assert str(hub.asked[0].url) == "http://hub/hub/api/user"
    assert hub.asked[0].headers["Authorization"] == "token abc"
    assert await says(user("operator", ["access:services"])).identity.login("abc") == "operator"


@pytest.mark.parametrize(
    "content",
    [
        user("student1", []),
        user("student1", ["access:services!service=other"]),
        user("student1", ["access:services!service=exchange2", "self"]),
        user("exchange", [SCOPE], kind="service"),
        {"name": "student1", "scopes": [SCOPE]},
        {"kind": "user", "name": None, "scopes": [SCOPE]},
        {"kind": "user", "name": "student1", "scopes": SCOPE},
        {},
        [],
    ],
)
async def test_anything_else_is_nobody(content: Any) -> None:
    assert await says(content).identity.login("abc") is None


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_the_hub_refuses_is_nobodys(status: int) -> None:
    assert await says({}, status).identity.login("abc") is None


@pytest.mark.parametrize("token", ["", "x" * 513, "a\r\nb", "토큰"])
async def test_what_cannot_be_a_token_is_not_even_asked(token: str) -> None:
    hub = says(user("student1"))
    assert await hub.identity.login(token) is None
    assert hub.asked == []


async def test_an_answer_is_remembered_only_briefly() -> None:
    hub = says(user("student1"))
    for now in (0, FRESH_S - 1):
        hub.now = now
        await hub.identity.login("abc")
    assert len(hub.asked) == 1
    hub.now, hub.answer = FRESH_S, lambda: httpx.Response(403)
    assert await hub.identity.login("abc") is None


@pytest.mark.parametrize("status", [200, 404, 500, 503])
async def test_while_the_hub_restarts_a_known_token_stays_good_for_some_minutes(status: int) -> None:
    hub = says(user("student1"))
    await hub.identity.login("abc")
    hub.answer = lambda: httpx.Response(status, text="<html>")
    hub.now = STALE_S - 1
    assert await hub.identity.login("abc") == "student1"
    hub.now = STALE_S
    with pytest.raises(HubUnreachable):
        await hub.identity.login("abc")
    with pytest.raises(HubUnreachable):
        await hub.identity.login("another")


async def test_remembered_tokens_are_bounded() -> None:
    hub = says(user("student1"))
    for number in range(REMEMBERED + 10):
        await hub.identity.login(f"token{number}")
    assert len(hub.identity._users) == REMEMBERED


async def test_made_up_tokens_do_not_push_out_a_good_one() -> None:
    hub = says(user("student1"))
    await hub.identity.login("abc")
    hub.answer = lambda: httpx.Response(403)
    for number in range(REMEMBERED + 10):
        assert await hub.identity.login(f"token{number}") is None
    assert len(hub.identity._nobody) == REMEMBERED
    asked = len(hub.asked)
    assert await hub.identity.login("abc") == "student1"
    assert len(hub.asked) == asked


async def test_a_token_that_became_good_or_bad_is_what_it_is_now() -> None:
    hub = says({}, 403)
    assert await hub.identity.login("abc") is None
    hub.now, hub.answer = FRESH_S, lambda: httpx.Response(200, json=user("student1"))
    assert await hub.identity.login("abc") == "student1"
    hub.now, hub.answer = 2 * FRESH_S, lambda: httpx.Response(403)
    assert await hub.identity.login("abc") is None
    hub.answer = lambda: httpx.Response(503)
    hub.now = 2 * FRESH_S + STALE_S - 1
    assert await hub.identity.login("abc") is None


class SlowHub:
    """Lets everybody wait until it is told to answer."""

    def __init__(self) -> None:
        self.asked = 0
        self.arrivals = asyncio.Semaphore(0)
        self.go = asyncio.Event()
        self.status = 200
        self.identity = Identity("http://hub/hub/api", transport=httpx.MockTransport(self.answer))

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        self.arrivals.release()
        await self.go.wait()
        login = request.headers["Authorization"].removeprefix("token ")
        return httpx.Response(self.status, json=user(login))

    async def waiting(self, count: int) -> None:
        for _ in range(count):
            await self.arrivals.acquire()


async def test_first_requests_at_the_same_moment_ask_the_hub_once() -> None:
    hub = SlowHub()
    asking = [asyncio.create_task(hub.identity.login("student1")) for _ in range(20)]
    await hub.waiting(1)
    asking[0].cancel()  # the one whose request began the question goes away
    hub.go.set()
    assert await asyncio.gather(*asking[1:]) == ["student1"] * 19
    assert hub.asked == 1
    assert hub.identity._asking == {}


async def test_a_failed_question_fails_all_who_shared_it_and_the_next_one_asks_anew() -> None:
    hub = SlowHub()
    hub.status = 503
    asking = [asyncio.create_task(hub.identity.login("student1")) for _ in range(3)]
    await hub.waiting(1)
    hub.go.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in found] == [HubUnreachable] * 3
    hub.status = 200
    assert await hub.identity.login("student1") == "student1"


async def test_a_whole_class_asks_at_the_same_time_and_not_one_after_the_other() -> None:
    hub = SlowHub()
    asking = [asyncio.create_task(hub.identity.login(f"student{number}")) for number in range(80)]
    await asyncio.wait_for(hub.waiting(80), 10)  # all are at the hub while it has answered nobody
    hub.go.set()
    assert await asyncio.gather(*asking) == [f"student{number}" for number in range(80)]


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("token abc", "abc"),
        ("Token abc", "abc"),
        ("Bearer abc", "abc"),
        ("Basic abc", ""),
        ("abc", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_the_token_stands_in_the_authorization_header(header: str | None, token: str) -> None:
    assert token_of(header) == token
