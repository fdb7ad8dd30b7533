"""How many connections one container may hold, and how long one may hold it without asking anything.

uvicorn counts the connections of all together and refuses what is over: one container that opened so many and said
nothing would shut everybody else out.
"""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

FROM_ONE_ADDRESS = 32  # a student's server uses two
FROM_THIS_MACHINE = 500  # the proxy, through which everybody's browser comes
HEADERS_WITHIN_S = 20.0


class Guarded(H11Protocol):
    """One connection, closed when its address has too many or when a request's headers do not come."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Count it, and wait for the first request."""
        super().connection_made(transport)
        here, there = _host(self.server), _host(self.client)
        limit = FROM_THIS_MACHINE if there in (here, "127.0.0.1") else FROM_ONE_ADDRESS
        if sum(isinstance(other, Guarded) and _host(other.client) == there for other in self.connections) > limit:
            transport.abort()
        else:
            self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Hand it on, and see whether a request has begun."""
        super().data_received(data)
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._patience is None:
            self._patience = self.loop.call_later(HEADERS_WITHIN_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _give_up(self) -> None:
        self._patience = None
        if self.conn.their_state is h11.IDLE:
            self.transport.abort()


def _host(address: tuple[str, int | None] | tuple[str, int] | None) -> str | None:
    return address[0] if address else None
