"""Simulated people: each logs in, opens a server, runs cells and submits as a browser would, over HTTP and WebSockets.

There is one simulator. The demo sends three of these through the day; a rehearsal sends as many as the class has.
A visitor knows nothing that a browser would not: an address, a login and a password.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import httpx
import websockets

from gpuclass.errors import PlainError

REQUEST_TIMEOUT_S = 60
BUTTON_TIMEOUT_S = 400  # of Formgrader's buttons: a release tries the assignment with all its answers first
SERVER_TIMEOUT_S = 180
CELL_TIMEOUT_S = 120


class RehearsalError(PlainError):
    """A step did not go as it would have to; the text says who, what and what the other side answered."""


class _ByAddress(httpx.AsyncHTTPTransport):
    """Connects to one address whatever the host's name is: a user's subdomain need not be in any DNS."""

    def __init__(self, host: str) -> None:
        super().__init__(retries=1)
        self._host = host

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        there = httpx.Request(
            request.method,
            request.url.copy_with(host=self._host),
            headers=request.headers,  # with the Host header that was asked for
            stream=request.stream,
            extensions=request.extensions,
        )
        return await super().handle_async_request(there)


class _LikeABrowser(DefaultCookiePolicy):
    """Takes ``Domain=localhost`` from localhost as a cookie for that host alone. The standard library refuses it."""

    def set_ok_domain(self, cookie: Cookie, request: urllib.request.Request) -> bool:
        host = urlsplit(request.get_full_url()).hostname or ""
        if cookie.domain.lstrip(".") == host and "." not in host:
            cookie.domain, cookie.domain_specified = f"{host}.local", False  # how the jar calls such a host
            return True
        return super().set_ok_domain(cookie, request)


@dataclass
class CellResult:
    """What a cell gave: what it printed, its value as text, and the name of its error."""

    printed: str = ""
    value: str = ""
    error: str = ""
    pictures: int = 0
    text: list[str] = field(default_factory=list)


class Visitor:
    """One person with a browser.

    Args:
        site: the class's address, such as ``http://localhost:8000``.
        login: their login.
        password: from their card.
        subdomains: whether each user has a domain of their own.
        connect: address to connect to instead of the site's name; for a machine on which the names do not resolve.
        patience_s: how long they wait for one answer, and for their server.
    """

    def __init__(
        self,
        site: str,
        login: str,
        password: str,
        *,
        subdomains: bool,
        connect: str | None = None,
        patience_s: float | None = None,
    ) -> None:
        self.login = login
        self._password = password
        self._site = urlsplit(site)
        self._server_timeout = patience_s or SERVER_TIMEOUT_S
        self._connect = connect or self._site.hostname or "localhost"
        self._client = httpx.AsyncClient(
            transport=_ByAddress(self._connect),
            timeout=patience_s or REQUEST_TIMEOUT_S,
            headers={"User-Agent": "gpuclass-rehearsal"},
            cookies=CookieJar(_LikeABrowser()),
        )
        self.hub = f"{site}/hub"
        host = f"{login}.{self._site.netloc}" if subdomains else self._site.netloc
        self.server = f"{self._site.scheme}://{host}/user/{login}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._client.aclose()

    def _xsrf(self, url: str) -> str:
        """The XSRF cookie that a page under this address would send."""
        host, path = urlsplit(url).hostname or "", urlsplit(url).path
        fitting = [
            (len(cookie.path), cookie.value or "")
            for cookie in self._client.cookies.jar
            if cookie.name == "_xsrf" and path.startswith(cookie.path) and cookie.domain in (host, f"{host}.local")
        ]
        return max(fitting, default=(0, ""))[1]

    async def request(self, method: str, url: str, *, follow: bool = True, **kwargs: Any) -> httpx.Response:
        """One request with this person's cookies and XSRF token; what it answers is not judged."""
        headers = {"X-XSRFToken": self._xsrf(url), "Referer": url, **kwargs.pop("headers", {})}
        return await self._client.request(method, url, headers=headers, follow_redirects=follow, **kwargs)

    async def call(self, method: str, url: str, **kwargs: Any) -> Any:
        """One API request; its JSON, or None without a body.

        Raises:
            RehearsalError: the answer is an error.
        """
        response = await self.request(method, url, **kwargs)
        if response.status_code >= 400:
            raise RehearsalError(f"{self.login}: {method} {url} → {response.status_code}: {response.text[:500]}")
        return response.json() if response.content else None

    async def log_in(self) -> None:
        """Log in with the card's password.

        Raises:
            RehearsalError: the hub does not let them in.
        """
        page = f"{self.hub}/login"
        await self.request("GET", page)
        form = {"username": self.login, "password": self._password, "_xsrf": self._xsrf(page)}
        response = await self.request("POST", page, data=form, follow=False)
        if response.status_code != 302:
            raise RehearsalError(f"{self.login} was not let in: HTTP {response.status_code}")
        await self.request("GET", f"{self.hub}/home")  # gives the XSRF cookie of a person who is logged in

    async def start_server(self, say: Callable[[str], None] | None = None) -> None:
        """Ask for a server and wait until it is there, reading the progress messages; then enter it.

        Raises:
            RehearsalError: it did not start.
        """
        response = await self.request("POST", f"{self.hub}/api/users/{self.login}/server")
        if response.status_code not in (201, 202, 400):  # 400: runs already
            raise RehearsalError(f"{self.login}: no server: HTTP {response.status_code} {response.text[:300]}")
        if response.status_code == 202:
            await asyncio.wait_for(self._follow_progress(say), self._server_timeout)
        await self.enter()

    async def press_start(self, say: Callable[[str], None] | None = None) -> None:
        """Press the button on the home page, stay on the page of progress, and go on into the server when that does.

        What a browser does, request by request; ``start_server`` asks the hub's API instead.

        Raises:
            RehearsalError: it did not start, or the way in did not end in the server.
            TimeoutError: patience ran out.
        """
        async with asyncio.timeout(self._server_timeout):
            page = await self.request("GET", f"{self.hub}/spawn/{self.login}")
            if page.status_code == 200 and not self._is_in_server(page):
                await self._follow_progress(say)
                page = await self.request("GET", f"{self.hub}/spawn-pending/{self.login}")
        if page.status_code != 200 or not self._is_in_server(page):
            raise RehearsalError(f"{self.login}: the way in ended at {page.url}: HTTP {page.status_code}")

    def _is_in_server(self, page: httpx.Response) -> bool:
        return str(page.url).startswith(f"{self.server}/")

    async def enter(self) -> None:
        """Open the server's page, with the round through the hub that hands out its cookie.

        Raises:
            RehearsalError: the round did not end in the server.
        """
        response = await self.request("GET", f"{self.server}/lab")
        if response.status_code != 200 or response.url.path != urlsplit(f"{self.server}/lab").path:
            raise RehearsalError(
                f"{self.login}: {self.server}/lab ended at {response.url}: HTTP {response.status_code}"
            )

    async def _follow_progress(self, say: Callable[[str], None] | None) -> None:
        url = f"{self.hub}/api/users/{self.login}/server/progress"
        async with self._client.stream("GET", url, headers={"X-XSRFToken": self._xsrf(url)}) as events:
            async for line in events.aiter_lines():
                if not line.startswith("data:"):
                    continue
                event = json.loads(line.removeprefix("data:"))
                if say and event.get("message"):
                    say(event["message"])
                if event.get("failed"):
                    raise RehearsalError(f"{self.login}: the server did not start: {event.get('message')}")
                if event.get("ready"):
                    return
        raise RehearsalError(f"{self.login}: the hub stopped telling how the start goes on")

    async def stop_server(self) -> None:
        """Stop the server and wait until it is gone."""
        await self.call("DELETE", f"{self.hub}/api/users/{self.login}/server")
        while (await self.call("GET", f"{self.hub}/api/users/{self.login}"))["servers"]:  # noqa: ASYNC110  # the hub can only be asked
            await asyncio.sleep(0.2)

    async def read(self, path: str) -> Any:
        """A file of the person's home: a notebook as its JSON, else text."""
        return (await self.call("GET", f"{self.server}/api/contents/{quote(path)}"))["content"]

    async def save(self, path: str, notebook: dict[str, Any]) -> None:
        """Save a notebook as Lab does."""
        body = {"type": "notebook", "format": "json", "content": notebook}
        await self.call("PUT", f"{self.server}/api/contents/{quote(path)}", json=body)

    @asynccontextmanager
    async def kernel(self) -> AsyncIterator[Kernel]:
        """A new kernel with its WebSocket; shut down at the end."""
        kernel_id = (await self.call("POST", f"{self.server}/api/kernels", json={"name": "python3"}))["id"]
        try:
            async with self.connected(kernel_id) as kernel:
                yield kernel
        finally:
            await self.call("DELETE", f"{self.server}/api/kernels/{kernel_id}")

    @asynccontextmanager
    async def connected(self, kernel_id: str) -> AsyncIterator[Kernel]:
        """A WebSocket to a kernel that runs already."""
        path = f"{self.server}/api/kernels/{kernel_id}/channels"
        cookies = self._client.build_request("GET", path).headers.get("Cookie", "")
        uri = (
            f"{path.replace('http', 'ws', 1)}?{urlencode({'session_id': uuid.uuid4().hex, '_xsrf': self._xsrf(path)})}"
        )
        async with websockets.connect(
            uri,
            additional_headers={"Cookie": cookies},
            origin=websockets.Origin(f"{urlsplit(path).scheme}://{urlsplit(path).netloc}"),
            host=self._connect,
            port=self._site.port or (443 if self._site.scheme == "https" else 80),
            max_size=None,
        ) as socket:
            yield Kernel(kernel_id, socket)

    async def assignments(self, course: str) -> list[dict[str, Any]]:
        """The Assignments tab's list: released, fetched and submitted ones."""
        answer = await self.call("GET", f"{self.server}/assignments?{urlencode({'course_id': course})}")
        listed: list[dict[str, Any]] = _value_of(answer, self.login, "assignments")
        # The tab shows a note, such as the deadline, on a line below the name.
        return [{**item, "assignment_id": item["assignment_id"].partition("\n")[0]} for item in listed]

    async def assignment(self, action: str, name: str, course: str) -> None:
        """A button of the Assignments tab: ``fetch``, ``submit`` or ``fetch_feedback``."""
        body = {"course_id": course, "assignment_id": name}
        answer = await self.call("POST", f"{self.server}/assignments/{action}", json=body)
        _value_of(answer, self.login, f"{action} {name}")

    async def formgrader(self, method: str, path: str) -> Any:
        """One of Formgrader's API calls, such as ``assignments``; needs an instructor's server.

        Raises:
            RehearsalError: the call, or what its button does, failed.
        """
        answer = await self.call(method, f"{self.server}/formgrader/api/{path}", timeout=BUTTON_TIMEOUT_S)
        if isinstance(answer, dict) and answer.get("success") is False:
            raise RehearsalError(f"{self.login}: formgrader {path}: {answer.get('error') or answer.get('log')}")
        return answer


def _value_of(answer: Any, login: str, what: str) -> Any:
    if isinstance(answer, dict) and answer.get("success") is False:
        raise RehearsalError(f"{login}: {what}: {answer.get('value')}")
    return answer["value"] if isinstance(answer, dict) and "value" in answer else answer


class Kernel:
    """A kernel behind its WebSocket."""

    def __init__(self, kernel_id: str, socket: websockets.ClientConnection) -> None:
        self.id = kernel_id
        self._socket = socket

    async def run(self, code: str, timeout_s: float = CELL_TIMEOUT_S) -> CellResult:
        """Run a cell and wait for its end.

        Raises:
            TimeoutError: it did not end in time.
        """
        message_id = uuid.uuid4().hex
        header = {"msg_id": message_id, "msg_type": "execute_request", "username": "", "session": "", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": True}
        request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        await self._socket.send(json.dumps(request))
        return await asyncio.wait_for(self._result_of(message_id), timeout_s)

    async def _result_of(self, message_id: str) -> CellResult:
        result = CellResult()
        async for raw in self._socket:
            if isinstance(raw, bytes):
                continue  # widgets' buffers
            message = json.loads(raw)
            if message["parent_header"].get("msg_id") != message_id:
                continue
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    result.printed += content["text"]
                case "execute_result":
                    result.value = content["data"].get("text/plain", "")
                case "display_data":
                    result.pictures += "image/png" in content["data"]
                case "error":
                    result.error = content["ename"]
                    result.text = content["traceback"]
                case "status" if content["execution_state"] == "idle":
                    return result
        raise RehearsalError("the kernel's connection closed while a cell ran")
