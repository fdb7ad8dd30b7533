"""ngshare's own tests, as they come with it, played against another server. A program, not a module of tests.

    PYTHONPATH=<ngshare's folder> python -m tests.exchange.ngshare_suite URL

Its tests are generators that yield requests; each request goes to ``URL`` with the token of the user whom it names. The
reset of its database is left out, and what a POST has in its address goes into the form, as its documentation says.
Prints a JSON object: of each test by name what it failed with, empty if it passed.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

BASE = "http://ngshare.test"
RESET = "/api/initialize-Data6ase"


@dataclass(frozen=True)
class Request:
    """What a test yields."""

    url: str
    method: str
    body: str | None


@dataclass(frozen=True)
class Response:
    """What a test looks at."""

    code: int
    body: bytes


class Fetcher:
    """What the tests take for Tornado's client."""

    def fetch(self, url: str, method: str = "GET", body: str | None = None, raise_error: bool = True) -> Request:
        """The request, which the test yields next."""
        return Request(url, method, body)


def send(client: httpx.Client, request: Request) -> Response:
    """Have a request answered."""
    parts = urlsplit(request.url)
    query, form = (parse_qsl(text, keep_blank_values=True) for text in (parts.query, request.body or ""))
    if parts.path == RESET and dict(query).get("action") in ("clear", "init"):
        return Response(200, b'{"success": true, "message": "done"}')
    user = dict(query + form).get("user", "")
    posted = request.method == "POST"
    answer = client.request(
        request.method,
        parts.path,
        params=None if posted else [(key, value) for key, value in query if key != "user"],
        headers={"Authorization": f"token token-of-{user}"},
        data={key: value for key, value in query + form if key != "user"} if posted else None,
    )
    return Response(answer.status_code, answer.content)


def play(client: httpx.Client, test: Callable[..., Generator[Request, Response, None]]) -> str:
    """Run one test; what it failed with, and where in its file."""
    generator = test(Fetcher(), BASE)
    response, path = None, ""
    try:
        while True:
            request = generator.send(response)  # type: ignore[arg-type]  # None begins it
            response, path = send(client, request), urlsplit(request.url).path
    except StopIteration:
        return ""
    except Exception as error:  # a test's failure is what is asked for
        frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
        line = next((frame.lineno for frame in frames if frame.function == test.__name__), 0)
        said = response.body.decode(errors="replace")[:200] if response else ""
        return f"{path} in line {line}: {type(error).__name__} {error}, answered {said}"


def main(url: str) -> dict[str, str]:
    """Run all that speak HTTP, in their order."""
    suite: Any = importlib.import_module("ngshare.test_ngshare")
    expect = suite.assert_fail

    def as_documented(url: str, *arguments: Any, msg: str, **named: Any) -> Any:
        """Their tests run in ngshare's debug mode, which tells more; and once its documentation has other words."""
        if url.startswith("/api/instructor/") and msg == "Please supply email":
            msg = "Please supply email name"
        return expect(url, *arguments, msg=re.sub(r"^Permission denied .*", "Permission denied", msg), **named)

    suite.assert_fail = as_documented
    tests = {name: test for name, test in vars(suite).items() if name.startswith("test_")}
    with httpx.Client(base_url=url, timeout=60) as client:
        return {name: play(client, test) for name, test in tests.items() if inspect.isgeneratorfunction(test)}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
