"""Requests from a container to the exchange. Errors come out as one sentence in the class's language.

What can be asked twice without harm is asked again when it fails for a reason that passes, with growing pauses and for
as long as somebody wants to wait; everything else only when the exchange was not reached at all.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gpuclass.exchange.messages import Language, say

if TYPE_CHECKING:
    import requests

    from gpuclass.exchange.client.upload import Upload

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
UPLOAD_TIMEOUT_S = 330.0  # a little longer than the service waits for an upload
PATIENCE_S = 5.0  # a restart of the service takes about two
SUBMIT_PATIENCE_S = 20.0  # somebody sits and waits
BACKOFF_S = 0.3
BACKOFF_LIMIT_S = 5.0

PASSING = frozenset({0, 408, 429, 500, 502, 503, 504})  # asked again at once
LATER = PASSING | {302, 507}  # worth another try later: a new login, a disk that somebody makes room on


class Refused(Exception):  # noqa: N818  # what happened
    """The exchange said no, or could not be asked; the text is for the person.

    Attributes:
        status: HTTP's, 0 when there was no answer.
        message: what the service called it.
        wait_s: how long it said to wait.
    """

    def __init__(self, text: str, status: int = 0, message: str = "", wait_s: float = 0.0) -> None:
        super().__init__(text)
        self.status = status
        self.message = message
        self.wait_s = wait_s

    @property
    def passes(self) -> bool:
        """Whether the same request may be taken later."""
        return self.status in LATER


class NotReached(Refused):
    """Nothing of the request has come to the exchange."""


class Connection:
    """The exchange at ``url``, as seen with a server's token. One connection is kept for all requests.

    Args:
        url, token, language: where, who, and in which words.
        patience_s: how long failures may be waited out, in all.
        sleep, clock, chance: time and chance.
    """

    def __init__(
        self,
        url: str,
        token: str,
        language: Language,
        patience_s: float | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.patience_s = PATIENCE_S if patience_s is None else patience_s
        self._url = url.rstrip("/")
        self._token = token
        self._language = language
        self._sleep = sleep
        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._failing_since = 0.0
        self._session: requests.Session | None = None

    def get(self, *path: str, **parameters: str) -> dict[str, Any]:
        """Answer to GET; ``path`` is given in its parts."""
        return self._patiently(lambda: self._send("GET", path, params=parameters))

    def post(self, *path: str, **fields: str) -> dict[str, Any]:
        """Answer to POST of a form."""
        return self._once(lambda: self._send("POST", path, files=_multipart(fields)))

    def put(self, *path: str, **fields: str) -> dict[str, Any]:
        """Answer to PUT of a form."""
        return self._once(lambda: self._send("PUT", path, files=_multipart(fields)))

    def delete(self, *path: str) -> dict[str, Any]:
        """Answer to DELETE, which hides what is hidden already once more."""
        return self._once(lambda: self._send("DELETE", path))

    def upload(self, *path: str, key: str, body: Callable[[], Upload]) -> dict[str, Any]:
        """Answer to the POST of a stream, which the exchange takes once under ``key``; ``body`` makes it anew."""

        def attempt() -> dict[str, Any]:
            content = body()
            return self._send(
                "POST", path, data=content, headers={"Idempotency-Key": key, "Content-Type": content.content_type}
            )

        try:
            return self._patiently(attempt)
        except Refused as refusal:
            if refusal.status != 400:
                raise
        return self._patiently(attempt)  # it may have been damaged on its way; the second time it was the sender's

    def _patiently(self, attempt: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return self._repeat(attempt, lambda refusal: refusal.status in PASSING)

    def _once(self, attempt: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return self._repeat(attempt, lambda refusal: isinstance(refusal, NotReached))

    def _repeat(self, attempt: Callable[[], dict[str, Any]], again: Callable[[Refused], bool]) -> dict[str, Any]:
        while True:
            try:
                return attempt()
            except Refused as refusal:
                if not again(refusal) or not self._waited(refusal.wait_s):
                    raise

    def _waited(self, least_s: float) -> bool:
        """Whether there was patience for a pause; failures share one stretch of it, whatever they asked."""
        now = self._clock()
        if self._failures == 0:
            self._failing_since = now
        growing = min(BACKOFF_S * 2**self._failures, BACKOFF_LIMIT_S)
        pause = max(least_s, growing * (0.5 + self._chance()))  # by chance: eighty must not come back in step
        self._failures += 1
        if now + pause > self._failing_since + self.patience_s:
            return False
        self._sleep(pause)
        return True

    def _send(
        self, method: str, path: tuple[str, ...], headers: Mapping[str, str] | None = None, **content: Any
    ) -> dict[str, Any]:
        import requests  # here: it costs a server's start what only a submission needs
        from urllib3.exceptions import NewConnectionError

        address = "/".join([self._url, *(quote(part, safe="") for part in path)])
        try:
            answer = self._open().request(
                method,
                address,
                headers={"Authorization": f"token {self._token}", **(headers or {})},
                timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S if method == "GET" else UPLOAD_TIMEOUT_S),
                allow_redirects=False,
                **content,
            )
        except requests.RequestException as error:
            text = say(self._language, "client.unreachable")
            reason = getattr(error.args[0], "reason", None) if error.args else None
            if isinstance(error, requests.ConnectTimeout) or isinstance(reason, NewConnectionError):
                raise NotReached(text) from error
            raise Refused(text) from error
        return self._checked(answer)

    def _checked(self, answer: requests.Response) -> dict[str, Any]:
        try:
            content = answer.json()
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise Refused(say(self._language, "client.unreachable"), answer.status_code)
        if answer.status_code == 200 and content.get("success") is True:
            return content
        message = str(content.get("message", ""))
        match answer.status_code:
            case 302:
                text = say(self._language, "client.login")
            case 403:
                text = say(self._language, "client.forbidden")
            case 408 | 413 | 429 | 503 | 507:
                text = message  # for people already
            case _:
                text = say(self._language, "client.refused", message=content.get("hint") or message)
        wait = answer.headers.get("Retry-After", "")
        raise Refused(text, answer.status_code, message, float(wait) if wait.isdecimal() else 0.0)

    def _open(self) -> requests.Session:
        if self._session is None:
            import requests

            self._session = requests.Session()
            self._session.trust_env = False  # the exchange is on the class network: no proxy, no .netrc
        return self._session

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._session is not None:
            self._session.close()
            self._session = None


def from_environment(
    language: Language, environ: Mapping[str, str] = os.environ, patience_s: float | None = None
) -> Connection:
    """The exchange of the class whose server this runs in; see ``Connection``.

    Raises:
        Refused: this is no such server.
    """
    names = ("GPUCLASS_EXCHANGE_URL", "JUPYTERHUB_API_TOKEN")
    for name in names:
        if not environ.get(name):
            raise Refused(say(language, "client.environment", name=name))
    url, token = (environ[name] for name in names)
    return Connection(url, token, language, patience_s)


def _multipart(fields: Mapping[str, str]) -> dict[str, tuple[None, str]]:
    """Fields as multipart/form-data: base64 is not blown up by percent-encoding."""
    return {name: (None, value) for name, value in fields.items()}
