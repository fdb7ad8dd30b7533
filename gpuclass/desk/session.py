"""Log-in at the desk by the hub's OAuth, and what proves that a browser's request was meant.

The session is the hub's OAuth token in a cookie that the desk has signed. Signed, because the token in a container is
one of the same person too: put into the cookie by hand it opens nothing, so whoever runs code in a teacher's container
is not the teacher here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
from starlette.requests import Request
from starlette.responses import Response

from gpuclass.roles import DESK_SERVICE
from gpuclass.settings import Settings

PREFIX = "/services/desk"
CLIENT = f"service-{DESK_SERVICE}"  # JupyterHub's name for the OAuth client of a service
STATE_S = 600  # a log-in takes no longer
STATES = 4  # log-ins that one browser has under way; a fifth tab drops the oldest
COOKIE_LIMIT = 1000  # characters
HUB_TIMEOUT_S = 10.0


class LogInFailed(Exception):  # noqa: N818  # what happened, in the field's words
    """The hub did not confirm the log-in; trying once more is all that can be done."""


@dataclass(frozen=True)
class Begun:
    """A log-in on its way.

    Attributes:
        state: goes to the hub and comes back.
        verifier: PKCE's, never leaves this machine and the browser's cookie.
        next: the page that was asked for.
    """

    state: str
    verifier: str
    next: str


class Session:
    """Signs, reads and clears the desk's cookies, and speaks OAuth with the hub.

    Args:
        settings: the class.
        secret: the desk's token at the hub; also the key for signatures.
        transport: for tests.
    """

    def __init__(self, settings: Settings, secret: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._settings = settings
        self._secret = secret
        https = settings.site.address.startswith("https://")
        # On a domain of its own the cookie can be bound to that host, so that no page of another one can set it.
        bound = https and settings.site.subdomains
        self.cookie = "__Host-desk" if bound else "desk"
        self._options: dict[str, Any] = {
            "path": "/" if bound else f"{PREFIX}/",
            "secure": https,
            "httponly": True,
            "samesite": "lax",
        }
        self._callback = f"{settings.desk_site}{PREFIX}/oauth_callback"
        self._http = httpx.AsyncClient(timeout=HUB_TIMEOUT_S, transport=transport, trust_env=False)

    async def close(self) -> None:
        """Close the connections to the hub."""
        await self._http.aclose()

    def token(self, request: Request) -> str:
        """The OAuth token of this browser's session; empty without a session of ours."""
        return self._signed(request.cookies.get(self.cookie, ""), "session")

    def xsrf(self, token: str) -> str:
        """What a page of this session sends back with every press; no other session's fits."""
        return self._mac("xsrf", token)

    def meant(self, request: Request, token: str, given: str) -> bool:
        """Whether a press came from a page of ours and of this session."""
        here = request.headers.get("origin") == self._settings.desk_site
        return here and hmac.compare_digest(given.encode(), self.xsrf(token).encode())

    def begin(self, response: Response, request: Request, next_page: str) -> None:
        """Turn ``response``, a redirect, into one to the hub's log-in."""
        begun = Begun(secrets.token_urlsafe(16), secrets.token_urlsafe(32), _own_page(next_page))
        states = [*self._begun(request), begun][-STATES:]
        kept = json.dumps([[each.state, each.verifier, each.next] for each in states])
        self._put(response, f"{self.cookie}-state", self._sign(kept, "state"))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(begun.verifier.encode()).digest()).decode().rstrip("=")
        query = {
            "client_id": CLIENT,
            "redirect_uri": self._callback,
            "response_type": "code",
            "state": begun.state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        response.headers["location"] = f"{self._settings.site.address}/hub/api/oauth2/authorize?{urlencode(query)}"

    async def finish(self, request: Request) -> tuple[str, str]:
        """The token, and the page that was asked for, when the hub sends a browser back.

        Raises:
            LogInFailed: this browser began no such log-in, or the hub does not confirm it.
        """
        state, code = request.query_params.get("state", ""), request.query_params.get("code", "")
        known = self._begun(request)
        begun = next((each for each in known if hmac.compare_digest(each.state.encode(), state.encode())), None)
        if begun is None or not code:
            raise LogInFailed("no log-in of this browser")
        asked = {
            "client_id": CLIENT,
            "client_secret": self._secret,
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._callback,
            "code_verifier": begun.verifier,
        }
        try:
            answer = await self._http.post(f"{self._settings.hub_api}/oauth2/token", data=asked)
            answer.raise_for_status()
            return str(answer.json()["access_token"]), begun.next
        except (httpx.HTTPError, ValueError, KeyError) as error:
            raise LogInFailed(repr(error)) from error

    def keep(self, response: Response, token: str) -> None:
        """Begin the session in this browser."""
        self._put(response, self.cookie, self._sign(token, "session"))
        self._drop(response, f"{self.cookie}-state")

    def end(self, response: Response) -> None:
        """End the session in this browser."""
        self._drop(response, self.cookie)

    def _begun(self, request: Request) -> list[Begun]:
        text = self._signed(request.cookies.get(f"{self.cookie}-state", ""), "state")
        return [Begun(*fields) for fields in json.loads(text)] if text else []

    def _put(self, response: Response, name: str, value: str) -> None:
        age = STATE_S if name.endswith("-state") else None  # without an age: until the browser is closed
        response.set_cookie(name, value, max_age=age, **self._options)

    def _drop(self, response: Response, name: str) -> None:
        response.delete_cookie(name, **self._options)

    def _sign(self, text: str, purpose: str) -> str:
        return f"{base64.urlsafe_b64encode(text.encode()).decode()}.{self._mac(purpose, text)}"

    def _signed(self, value: str, purpose: str) -> str:
        """The text of a value that we have signed for this purpose; empty for any other."""
        head, _, mac = value.partition(".")
        if not mac or len(value) > STATES * COOKIE_LIMIT:
            return ""
        try:
            text = base64.urlsafe_b64decode(head.encode()).decode()
        except ValueError:
            return ""
        return text if hmac.compare_digest(mac.encode(), self._mac(purpose, text).encode()) else ""

    def _mac(self, purpose: str, text: str) -> str:
        return hmac.new(self._secret.encode(), f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()


def _own_page(path: str) -> str:
    """``path`` if it is one of the desk's pages, else the first page: a link must not lead elsewhere after a log-in."""
    own = path.startswith(f"{PREFIX}/") and len(path) < COOKIE_LIMIT // 2 and path.isascii() and path.isprintable()
    return path if own and "\\" not in path else f"{PREFIX}/"
