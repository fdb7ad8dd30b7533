"""A notebook's two containers: the sandbox runs the student's cells, the referee runs the tests.

Neither reaches the other but through here. Frames between them are passed on as they are, each no larger than a limit,
strictly in turns, and until a deadline that no trickle of bytes extends; only the referee says how a test went.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Self

import docker

from gpuclass.grader import wire
from gpuclass.grader.sandbox import GRACE_SECONDS, REFEREE, EngineError, Limits, Sandbox, open_sandbox

DOOR = b">"  # a frame that begins so is for the other side; as in grading/door.py
REPLAYS = 3  # a notebook whose pair ended begins anew so often, without the cells in which it ended
DOOR_LIMIT = 64 * 2**20  # bytes of one frame between the two


class Pair:
    """A sandbox and a referee, started together and removed together.

    Args:
        student: where the student's cells run.
        referee: where tests run.
        limits: of both.
        clock: monotonic.
        renewable: whether both can begin anew (`renew`): containers can, a plain process cannot.
    """

    def __init__(
        self,
        student: Sandbox,
        referee: Sandbox,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        *,
        renewable: bool = False,
    ) -> None:
        self._student = student
        self._referee = referee
        self._limits = limits
        self._clock = clock
        self._renewable = renewable
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._student)
        self._stack.enter_context(self._referee)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(
        self,
        files: Mapping[str, bytes],
        notebook: Sequence[str],
        seconds: float,
        contract: Sequence[str] | None = None,
        *,
        record: bool = False,
    ) -> None:
        """Get both ready, at the same time.

        Args:
            files: beside the student's notebook. The referee sees none.
            notebook: the code cells of the instructor's version, tests left out.
            seconds: what the notebook may take from now on.
            contract: where a test may use an object of the student's (`contract`); None to read it off ``notebook``.
            record: what will run is the instructor's own solution: note where a test gets an object, and refuse none.

        Raises:
            EngineError: one of them did not get ready.
        """
        self._student.greet(files)
        self._referee.introduce(notebook, contract, record=record)
        self._student.wait(seconds)
        self._referee.wait(seconds)

    def renew(self) -> bool:
        """Have both begin anew, for the same submission only: the sandbox is no better than the code that ran in it.

        Returns:
            Whether `start` can be called again; if not, a fresh pair is needed.
        """
        if not (self._renewable and self._student.whole and self._referee.whole):
            return False
        try:
            self._student.renew()
            self._referee.renew()
        except EngineError:
            return False
        return True

    def run(self, source: str) -> wire.CellRun:
        """Run a cell of the student's.

        Raises:
            Lost: the sandbox broke a limit or ended.
        """
        return self._student.run(source)

    def reached(self, source: str, *, locked: bool) -> None:
        """Tell the referee that the student's side is past this cell of the instructor's.

        Raises:
            Lost: the referee ended.
        """
        self._referee.tell({"reached": source, "locked": locked})

    def recorded(self) -> list[str]:
        """Where objects may turn up, after the solution was run with ``record``.

        Raises:
            Lost: the referee ended.
        """
        match self._referee.ask({"recorded": True}):
            case {"paths": list() as paths} if all(type(path) is str for path in paths):
                return paths
        raise self._referee.lose("garbled")

    def test(self, source: str) -> wire.CellRun:
        """Run a test cell.

        Raises:
            Lost: one of the two broke a limit or ended: both are of no use any more.
        """
        seconds = self._referee.seconds()
        deadline = self._clock() + seconds + GRACE_SECONDS
        asked = secrets.token_hex(16)
        message = {"id": asked, "source": source, "seconds": seconds, "limit": self._limits.output}
        turn, other = self._referee, self._student
        turn.send(wire.encode(message), deadline)
        while True:
            frame = turn.frame(deadline, DOOR_LIMIT)
            if frame.startswith(DOOR):
                turn, other = other, turn
                turn.send(wire.LENGTH.pack(len(frame)) + frame, deadline)
            elif turn is self._student:
                raise self._student.lose("garbled", "an answer that only the referee can give")
            else:
                return self._referee.reply(frame, asked)


OpenPair = Callable[[], AbstractContextManager[Pair]]


@contextmanager
def reusing(open_pair: OpenPair) -> Iterator[OpenPair]:
    """Gives an `OpenPair` for several runs of one notebook: the pair of the last run, if it could begin anew."""
    with ExitStack() as stack:
        at_hand: list[Pair] = []

        @contextmanager
        def opened() -> Iterator[Pair]:
            if not (at_hand and at_hand[0].renew()):
                at_hand.clear()
                stack.close()
                at_hand.append(stack.enter_context(open_pair()))
            yield at_hand[0]

        yield opened


def open_pair(client: docker.DockerClient, image: str, limits: Limits, owner: str) -> Pair:
    """Two fresh containers of ``image``; leave the ``with`` block and they are gone.

    Raises:
        EngineError: Docker refused or cannot be reached.
    """
    student = open_sandbox(client, image, limits, owner)
    try:
        referee = open_sandbox(client, image, limits, owner, command=REFEREE)
    except BaseException:
        student.close()
        raise
    return Pair(student, referee, limits, renewable=True)
