"""What the desk asks of the hub: start and stop somebody's server. Whether that is allowed was decided before."""

from __future__ import annotations

from urllib.parse import quote

import httpx

from gpuclass.errors import PlainError

TIMEOUT_S = 30.0


class HubRefused(PlainError):  # noqa: N818  # what happened, in the field's words
    """The hub did not do it; ``status`` is its answer's, 0 for none."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Hub:
    """The hub's REST API with the desk's token.

    Args:
        url: ``settings.hub_api``.
        token: the desk's at the hub.
        transport: for tests.
    """

    def __init__(self, url: str, token: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"token {token}"},
            timeout=TIMEOUT_S,
            transport=transport,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def start(self, login: str, *, gpu: bool) -> None:
        """Have somebody's server started, or see that it is on or on its way; returns before it is there.

        Raises:
            HubRefused: it cannot be.
        """
        await self._ask("POST", f"/users/{quote(login)}/server", {"gpu": gpu}, fine=(400,))  # 400: it runs already

    async def stop(self, login: str) -> bool:
        """Have somebody's server stopped, or taken out of the queue; whether it is off now rather than soon.

        Raises:
            HubRefused: it cannot be.
        """
        return await self._ask("DELETE", f"/users/{quote(login)}/server", fine=(404,)) != httpx.codes.ACCEPTED

    async def _ask(self, method: str, path: str, body: object = None, fine: tuple[int, ...] = ()) -> int:
        try:
            answer = await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise HubRefused(0, f"the hub does not answer: {error!r}") from error
        if answer.is_error and answer.status_code not in fine:
            raise HubRefused(answer.status_code, answer.text[:300])
        return answer.status_code
