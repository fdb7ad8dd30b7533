"""Which running containers hold a seat, as the engine's labels say; remembered while the engine does not answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import docker
import requests
from docker.errors import DockerException

from gpuclass.engine import SOCKET
from gpuclass.gpus.labels import DEVICE_LABEL, SeatLabels

TIMEOUT_S = 3  # of one question; the watch has other things to do than to wait for a sick engine
RETRY_S = 10.0

Labelled = Iterable[tuple[str, Mapping[str, str]]]


class Seated:
    """Containers with a seat, of every class on this machine.

    A container's labels never change, so what was known of one stays true while the engine is away.

    Args:
        ask: the running containers with a seat: Docker's id and labels.
    """

    def __init__(self, ask: Callable[[], Labelled]) -> None:
        self._ask = ask
        self._seats: dict[str, SeatLabels] = {}
        self._ask_again_at = 0.0
        self.problem = ""
        """Why the list may be old, in English; empty when it is not."""

    @property
    def seats(self) -> Mapping[str, SeatLabels]:
        """Docker's id → the seat."""
        return MappingProxyType(self._seats)

    def refresh(self, now: float) -> None:
        """Ask the engine, unless it did not answer just before."""
        if now < self._ask_again_at:
            return
        try:
            found = {container: SeatLabels.read(labels) for container, labels in self._ask()}
        except (DockerException, requests.RequestException) as error:
            self._ask_again_at = now + RETRY_S
            self.problem = (
                f"Docker does not answer: {error}. Servers that started since are not watched. Look at `docker info`."
            )
            return
        self._seats = {container: seat for container, seat in found.items() if seat}
        self._ask_again_at, self.problem = 0.0, ""


def running(base_url: str = f"unix://{SOCKET}") -> Callable[[], Labelled]:
    """Asks an engine for its running containers with a seat."""
    clients: list[docker.APIClient] = []

    def ask() -> Labelled:
        if not clients:
            clients.append(docker.APIClient(base_url=base_url, version="auto", timeout=TIMEOUT_S))
        found = clients[0].containers(filters={"label": DEVICE_LABEL})
        return [(container["Id"], container["Labels"]) for container in found]

    return ask
