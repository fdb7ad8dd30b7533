"""Simulated people against a double of hub and server; tests/classroom/ sends them into a real class."""

import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import httpx
import pytest
import websockets

from gpuclass.rehearsal import Kernel, RehearsalError, Visitor

Answer = tuple[int, dict[str, str], str]
"""Status, headers, body."""


class Site:
    """Answers on 127.0.0.1, whatever the host's name is.

    Attributes:
        answers: by method and path; 404 for others.
        delay_s: seconds before the answer, by path.
        asked: method, host without port, path and XSRF token of every request.
    """

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer] = {}
        self.delay_s: dict[str, float] = {}
        self.asked: list[tuple[str, str, str, str]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = self.path.partition("?")[0]
                host = self.headers["Host"].rpartition(":")[0]
                site.asked.append((self.command, host, path, self.headers.get("X-XSRFToken", "")))
                time.sleep(site.delay_s.get(path, 0))
                status, headers, body = site.answers.get((self.command, path), (404, {}, "nothing here"))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(BrokenPipeError):  # who asked did not wait
                    self.wfile.write(body.encode())

            do_POST = do_PUT = do_GET  # noqa: N815  # the base class looks for these names

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture
async def visitor(site: Site) -> AsyncIterator[Visitor]:
    async with Visitor(site.address, "s01", "pass", subdomains=True, connect="127.0.0.1") as visitor:
        yield visitor


def xsrf(value: str, path: str) -> dict[str, str]:
    return {"Set-Cookie": f"_xsrf={value}; Path={path}"}


async def test_a_users_own_subdomain_is_reached_though_no_dns_knows_it(site: Site, visitor: Visitor) -> None:
    site.answers["GET", "/user/s01/lab"] = (200, {}, "")
    await visitor.enter()
    assert site.asked == [("GET", "s01.localhost", "/user/s01/lab", "")]


async def test_without_subdomains_everybody_is_on_the_sites_own_host(site: Site) -> None:
    site.answers["GET", "/user/s01/lab"] = (200, {}, "")
    async with Visitor(site.address, "s01", "pass", subdomains=False, connect="127.0.0.1") as visitor:
        await visitor.enter()
    assert site.asked[0][1] == "localhost"


async def test_a_form_carries_the_token_of_the_closest_path_on_its_own_host(site: Site, visitor: Visitor) -> None:
    site.answers["GET", "/hub/login"] = (200, xsrf("hub", "/hub/"), "")
    site.answers["GET", "/"] = (200, xsrf("root", "/"), "")
    site.answers["GET", "/user/s01/lab"] = (200, xsrf("server", "/user/s01/"), "")
    for url in (f"{visitor.hub}/login", f"{site.address}/", f"{visitor.server}/lab"):
        await visitor.request("GET", url)
    for url in (f"{visitor.hub}/api", f"{site.address}/other", f"{visitor.server}/api"):
        await visitor.request("POST", url)
    assert [asked[3] for asked in site.asked[3:]] == ["hub", "root", "server"]


async def test_who_is_not_let_in_is_named(site: Site, visitor: Visitor) -> None:
    site.answers["POST", "/hub/login"] = (403, {}, "wrong password")
    with pytest.raises(RehearsalError, match="s01 was not let in: HTTP 403"):
        await visitor.log_in()


def events(*messages: dict[str, Any]) -> str:
    return "".join(f"data: {json.dumps(message)}\n\n" for message in messages)


async def test_the_start_is_told_message_by_message(site: Site, visitor: Visitor) -> None:
    site.answers["POST", "/hub/api/users/s01/server"] = (202, {}, "")
    told = events({"message": "one"}, {"message": "two", "ready": True})
    site.answers["GET", "/hub/api/users/s01/server/progress"] = (200, {}, told)
    site.answers["GET", "/user/s01/lab"] = (200, {}, "")
    said: list[str] = []
    await visitor.start_server(said.append)
    assert said == ["one", "two"]


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (events({"message": "no room", "failed": True}), "s01: the server did not start: no room"),
        (events({"message": "one"}), "the hub stopped telling"),
    ],
)
async def test_a_start_that_fails_or_falls_silent_is_an_error(
    site: Site, visitor: Visitor, told: str, error: str
) -> None:
    site.answers["POST", "/hub/api/users/s01/server"] = (202, {}, "")
    site.answers["GET", "/hub/api/users/s01/server/progress"] = (200, {}, told)
    with pytest.raises(RehearsalError, match=error):
        await visitor.start_server()


async def test_the_button_leads_over_the_page_of_progress_into_the_server(site: Site, visitor: Visitor) -> None:
    site.answers["GET", "/hub/spawn/s01"] = (302, {"Location": "/hub/spawn-pending/s01"}, "")
    site.answers["GET", "/hub/spawn-pending/s01"] = (200, {}, "a page")

    def ready(_: str) -> None:
        site.answers["GET", "/hub/spawn-pending/s01"] = (302, {"Location": f"{visitor.server}/lab"}, "")

    site.answers["GET", "/hub/api/users/s01/server/progress"] = (200, {}, events({"message": "up", "ready": True}))
    site.answers["GET", "/user/s01/lab"] = (200, {}, "")
    await visitor.press_start(ready)
    assert [path for _, _, path, _ in site.asked] == [
        "/hub/spawn/s01",
        "/hub/spawn-pending/s01",
        "/hub/api/users/s01/server/progress",
        "/hub/spawn-pending/s01",
        "/user/s01/lab",
    ]


async def test_a_server_that_is_there_at_once_needs_no_page_of_progress(site: Site, visitor: Visitor) -> None:
    site.answers["GET", "/hub/spawn/s01"] = (302, {"Location": f"{visitor.server}/lab"}, "")
    site.answers["GET", "/user/s01/lab"] = (200, {}, "")
    await visitor.press_start()
    assert [path for _, _, path, _ in site.asked] == ["/hub/spawn/s01", "/user/s01/lab"]


async def test_a_button_that_is_refused_is_an_error(site: Site, visitor: Visitor) -> None:
    site.answers["GET", "/hub/spawn/s01"] = (429, {}, "too many")
    with pytest.raises(RehearsalError, match=r"ended at .*/hub/spawn/s01: HTTP 429"):
        await visitor.press_start()


async def test_who_has_waited_long_enough_goes(site: Site) -> None:
    site.answers["GET", "/hub/spawn/s01"] = (200, {}, "a page")
    site.answers["GET", "/hub/api/users/s01/server/progress"] = (200, {}, events({"message": "soon"}))
    site.delay_s["/hub/api/users/s01/server/progress"] = 0.4
    async with Visitor(site.address, "s01", "pass", subdomains=True, connect="127.0.0.1", patience_s=0.2) as visitor:
        with pytest.raises((TimeoutError, httpx.TimeoutException)):
            await visitor.press_start()


async def test_who_lands_elsewhere_is_not_in_the_server(site: Site, visitor: Visitor) -> None:
    site.answers["GET", "/user/s01/lab"] = (302, {"Location": f"{site.address}/hub/login"}, "")
    site.answers["GET", "/hub/login"] = (200, {}, "")
    with pytest.raises(RehearsalError, match=r"ended at .*/hub/login: HTTP 200"):
        await visitor.enter()


@pytest.mark.parametrize(
    ("act", "path"),
    [
        (lambda visitor: visitor.assignment("submit", "ex", "camp"), "/user/s01/assignments/submit"),
        (
            lambda visitor: visitor.formgrader("POST", "assignment/ex/release"),
            "/user/s01/formgrader/api/assignment/ex/release",
        ),
    ],
)
async def test_a_button_that_says_it_failed_is_an_error_although_http_went_well(
    site: Site, visitor: Visitor, act: Callable[[Visitor], Any], path: str
) -> None:
    site.answers["POST", path] = (200, {}, json.dumps({"success": False, "value": "too late", "error": "too late"}))
    with pytest.raises(RehearsalError, match="too late"):
        await act(visitor)


class Socket:
    """Answers one execute request with these messages; one of somebody else's cell comes first."""

    def __init__(self, *messages: tuple[str, dict[str, Any]]) -> None:
        self._messages = messages
        self._id = ""

    async def send(self, text: str) -> None:
        self._id = json.loads(text)["header"]["msg_id"]

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        yield b"a widget's buffer"
        yield self._message("other", "stream", {"text": "not ours"})
        for kind, content in self._messages:
            yield self._message(self._id, kind, content)

    def _message(self, parent: str, kind: str, content: dict[str, Any]) -> str:
        return json.dumps({"parent_header": {"msg_id": parent}, "msg_type": kind, "content": content})


def kernel(*messages: tuple[str, dict[str, Any]]) -> Kernel:
    return Kernel("k", cast("websockets.ClientConnection", Socket(*messages)))


async def test_a_cells_result_is_what_came_for_it_until_the_kernel_is_idle() -> None:
    result = await kernel(
        ("status", {"execution_state": "busy"}),
        ("stream", {"text": "a"}),
        ("stream", {"text": "b"}),
        ("display_data", {"data": {"image/png": "…"}}),
        ("execute_result", {"data": {"text/plain": "3"}}),
        ("error", {"ename": "ValueError", "traceback": ["line"]}),
        ("status", {"execution_state": "idle"}),
        ("stream", {"text": "later"}),
    ).run("cell")
    assert (result.printed, result.value, result.pictures) == ("ab", "3", 1)
    assert (result.error, result.text) == ("ValueError", ["line"])


async def test_a_connection_that_closes_in_a_cell_is_an_error() -> None:
    with pytest.raises(RehearsalError, match="closed while a cell ran"):
        await kernel(("stream", {"text": "a"})).run("cell")
