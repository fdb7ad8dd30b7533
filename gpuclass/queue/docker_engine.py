"""What a Docker engine says of the classes' containers. Its word counts: no seat is freed without it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import docker
import requests
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env

from gpuclass.gpus.model import LOCAL
from gpuclass.gpus.reconcile import Holder, holder
from gpuclass.network import CLASS_LABEL

ANSWER_TIMEOUT_S = 20  # an engine that takes longer to list containers counts as silent; it takes 0.1 s
_NOTHING_TO_DO = (404, 409)  # gone, or being removed by somebody else


class EngineSilentError(Exception):
    """The engine did not answer, or with an error: nobody knows what its containers do."""


class Engine(Protocol):
    """What the broker asks of a Docker engine."""

    name: str

    async def holders(self) -> list[Holder]:
        """The containers of all classes, running or not.

        Raises:
            EngineSilentError: it did not say.
        """

    async def remove(self, container: str) -> None:
        """Remove a container, running or not; one that is gone is no error.

        Raises:
            EngineSilentError: it did not say that it did.
        """


class DockerEngine:
    """This machine's engine. It has a thread and a client of its own, so that many starts do not delay a look."""

    name = LOCAL

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="docker-look")
        self._client: docker.APIClient | None = None

    async def holders(self) -> list[Holder]:
        """The containers of all classes, running or not."""
        listed = await self._call("containers", all=True, filters={"label": CLASS_LABEL})
        return [
            holder(each["Id"], (each.get("Names") or [""])[0], each.get("Labels") or {}, each["State"], self.name)
            for each in listed
        ]

    async def remove(self, container: str) -> None:
        """Remove a container, running or not."""
        await self._call("remove_container", container, v=True, force=True)

    async def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, lambda: getattr(self._connected(), method)(*args, **kwargs)
            )
        except APIError as error:
            if error.status_code in _NOTHING_TO_DO and method == "remove_container":
                return None
            raise EngineSilentError(str(error)) from error
        except (DockerException, requests.RequestException) as error:
            raise EngineSilentError(str(error)) from error

    def _connected(self) -> docker.APIClient:
        if self._client is None:
            self._client = docker.APIClient(**kwargs_from_env(), version="auto", timeout=ANSWER_TIMEOUT_S)
        return self._client
