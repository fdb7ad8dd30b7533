"""Requests from a container to the exchange. Errors come out as one sentence in the class's language."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from gpuclass.exchange.messages import Language, say

if TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 330.0  # a little longer than the service waits for an upload
CONNECT_RETRIES = 4  # after 0, 0.6, 1.2 and 2.4 s: a restart of the service takes about two
BACKOFF_S = 0.3


class Refused(Exception):  # noqa: N818  # what happened
    """The exchange said no, or could not be asked; the text is for the person.

    Attributes:
        status: HTTP's, 0 when there was no answer.
        message: what the service called it.
    """

    def __init__(self, text: str, status: int = 0, message: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.message = message


class Connection:
    """The exchange at ``url``, as seen with a server's token."""

    def __init__(self, url: str, token: str, language: Language) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._language = language
        self._session: requests.Session | None = None

    def get(self, *path: str, **parameters: str) -> dict[str, Any]:
        """Answer to GET; ``path`` is given in its parts."""
        return self._send("GET", path, params=parameters)

    def post(self, *path: str, **fields: str) -> dict[str, Any]:
        """Answer to POST of a form."""
        return self._send("POST", path, files=_multipart(fields))

    def put(self, *path: str, **fields: str) -> dict[str, Any]:
        """Answer to PUT of a form."""
        return self._send("PUT", path, files=_multipart(fields))

    def delete(self, *path: str) -> dict[str, Any]:
        """Answer to DELETE."""
        return self._send("DELETE", path)

    def _send(self, method: str, path: tuple[str, ...], **content: Any) -> dict[str, Any]:
        import requests  # here: it costs a server's start what only a submission needs

        address = "/".join([self._url, *(quote(part, safe="") for part in path)])
        try:
            answer = self._open().request(
                method,
                address,
                headers={"Authorization": f"token {self._token}"},
                timeout=(CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S),
                allow_redirects=False,
                **content,
            )
        except requests.RequestException as error:
            raise Refused(say(self._language, "client.unreachable")) from error
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
            case 413 | 429 | 503 | 507:
                text = message  # for people already
            case _:
                text = say(self._language, "client.refused", message=content.get("hint") or message)
        raise Refused(text, answer.status_code, message)

    def _open(self) -> requests.Session:
        if self._session is None:
            import requests
            from urllib3.util.retry import Retry

            self._session = requests.Session()
            self._session.trust_env = False  # the exchange is on the class network: no proxy, no .netrc
            # Only what did not reach the service at all is tried again: everything else may have been kept.
            again = Retry(total=None, connect=CONNECT_RETRIES, read=0, status=0, other=0, backoff_factor=BACKOFF_S)
            adapter = requests.adapters.HTTPAdapter(max_retries=again)
            self._session.mount("http://", adapter)
            self._session.mount("https://", adapter)
        return self._session

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._session is not None:
            self._session.close()
            self._session = None


def from_environment(language: Language, environ: Mapping[str, str] = os.environ) -> Connection:
    """The exchange of the class whose server this runs in.

    Raises:
        Refused: this is no such server.
    """
    names = ("GPUCLASS_EXCHANGE_URL", "JUPYTERHUB_API_TOKEN")
    for name in names:
        if not environ.get(name):
            raise Refused(say(language, "client.environment", name=name))
    url, token = (environ[name] for name in names)
    return Connection(url, token, language)


def _multipart(fields: Mapping[str, str]) -> dict[str, tuple[None, str]]:
    """Fields as multipart/form-data: base64 is not blown up by percent-encoding."""
    return {name: (None, value) for name, value in fields.items()}
