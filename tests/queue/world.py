"""A Docker engine in memory, for the broker's tests: what dockerd would hold, and what it would be asked."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

from gpuclass.gpus.model import LOCAL
from gpuclass.gpus.reconcile import Holder, holder
from gpuclass.queue.docker_engine import EngineSilentError


@dataclass
class ContainerDouble:
    """One container: its name, labels and state as ``GET /containers/json`` says them."""

    id: str
    name: str
    labels: dict[str, str]
    state: str = "created"


@dataclass
class EngineDouble:
    """Containers by name; ``silent`` makes every question fail, as when dockerd is killed."""

    name: str = LOCAL
    containers: dict[str, ContainerDouble] = field(default_factory=dict)
    silent: bool = False
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def create(self, name: str, labels: Mapping[str, str]) -> str:
        """Make a container that does not run yet."""
        if name in self.containers:
            raise ValueError(f"the name {name} is taken")
        made = ContainerDouble(f"id-{next(self.numbers)}", name, dict(labels))
        self.containers[name] = made
        return made.id

    def running(self) -> list[ContainerDouble]:
        """The containers that run."""
        return [each for each in self.containers.values() if each.state == "running"]

    async def holders(self) -> list[Holder]:
        """All containers, as the broker sees them."""
        await self._answers()
        return [holder(each.id, f"/{each.name}", each.labels, each.state) for each in self.containers.values()]

    async def remove(self, container: str) -> None:
        """Remove one by id or name."""
        await self._answers()
        for name, each in list(self.containers.items()):
            if container in (each.id, name):
                del self.containers[name]
        await asyncio.sleep(0)

    def copy(self) -> EngineDouble:
        """The same containers, for another life."""
        return EngineDouble(self.name, copy.deepcopy(self.containers), self.silent, itertools.count(1000))

    async def _answers(self) -> None:
        await asyncio.sleep(0)
        if self.silent:
            raise EngineSilentError("connection refused")
