"""The images as their files now say, and programs run in them as in a class: no root, no network, nothing writable."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import docker
import docker.errors
import pytest

from gpuclass import images
from gpuclass.trial import Server, serve

Run = Callable[..., str]
StartServer = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    client = images.connect()
    yield client
    client.close()


@pytest.fixture(scope="session")
def built(engine: docker.DockerClient) -> dict[str, str]:
    """Name → reference of every image, built where something changed."""
    return images.build(client=engine)


@pytest.fixture(params=["base", "student", "grader"])
def image(request: pytest.FixtureRequest, built: dict[str, str]) -> str:
    """Each image in turn: what holds for the base holds for all that are built on it."""
    return built[request.param]


@pytest.fixture(scope="session")
def run(engine: docker.DockerClient) -> Run:
    """Run a program in a container with a read-only root; gives what it printed, on both streams."""

    def run_in(image: str, *command: str, environment: dict[str, str] | None = None) -> str:
        try:
            output: bytes = engine.containers.run(
                image,
                list(command),
                environment=environment or {},
                read_only=True,
                tmpfs={"/tmp": "size=512m"},
                network_mode="none",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                stdout=True,
                stderr=True,
                remove=True,
            )
        except docker.errors.ContainerError as error:
            log = (error.stderr or b"").decode() if isinstance(error.stderr, bytes) else str(error.stderr)
            pytest.fail(f"{' '.join(command)[:200]} ended with {error.exit_status}:\n{log}")
        return output.decode()

    return run_in


@pytest.fixture(scope="session")
def python(run: Run) -> Run:
    """Run Python code in an image, warnings being errors; gives what it printed."""

    def run_python(image: str, code: str, environment: dict[str, str] | None = None) -> str:
        return run(image, "python", "-W", "error", "-c", textwrap.dedent(code), environment=environment)

    return run_python


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An empty home that the container's user may write to."""
    folder = tmp_path / "home"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture
def start(engine: docker.DockerClient, built: dict[str, str], home: Path) -> StartServer:
    """Start the student image's own command; the server's log is printed at the end, for when the test fails."""

    @contextmanager
    def started(
        image: str | None = None,
        volumes: dict[str, str] | None = None,
        limits: dict[str, str] | None = None,
        **environment: str,
    ) -> Iterator[Server]:
        image = image or built["student"]
        with serve(engine, image, home, environment=environment, volumes=volumes, limits=limits) as server:
            try:
                yield server
            finally:
                print(server.log())

    return started
