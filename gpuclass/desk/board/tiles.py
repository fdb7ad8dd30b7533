"""From a snapshot to tiles, their order and the totals. Pure: the same snapshot gives the same board."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any

from gpuclass.desk.board.snapshot import Snapshot, Student
from gpuclass.desk.reports import Kind, Report
from gpuclass.desk.student import ServerState, server
from gpuclass.gpus.model import State

REPEATED = 3  # the same error of the same cell so often in a row: trying once more is no help
IDLE = timedelta(minutes=10)  # longer than a lecture's page, shorter than a lesson
STUCK = timedelta(minutes=3)  # a start takes seconds, the first on a machine a minute
USED_STEP = 2**30 // 10  # bytes; a tenth of a GiB is all that a tile shows
WORKING_SHARE = 0.5  # of the servers that are on: so many at work, and the class works


class Need(IntEnum):
    """Why somebody may need help; who comes first on the board has the smaller one."""

    HAND = 0
    TAKEN = 1
    ERRORS = 2
    SERVER = 3
    IDLE = 4
    NONE = 5


@dataclass(frozen=True)
class Tile:
    """One student as the board shows them. Moments, never durations: a tile stays the same while nothing happens.

    Attributes:
        login, name, team: who.
        server, ahead, gpu: where their server is, how many are before them, whether it is about a GPU.
        memory, used: bytes of their seat, and of those in use; None where nobody says.
        stuck: whether the server should long have gone on.
        session, kind, busy: where they are in the notebooks, and whether a cell runs.
        active: the minute in which they did something last.
        submitted, scored, trouble: assignments handed in, of these with a score, and those where a person has to look.
        assignments: how many there are.
        share: mean of their scores, from 0 to 1.
        repeated, error: how often the same cell failed in a row, and with which class.
        hand, helper: since when their hand is up, and who has taken it.
        need: why they may need help.
    """

    login: str
    name: str
    team: str
    server: ServerState
    ahead: int
    gpu: bool
    memory: int
    used: int | None
    stuck: bool
    session: str
    kind: Kind
    busy: bool
    active: datetime | None
    submitted: int
    scored: int
    trouble: int
    assignments: int
    share: float | None
    repeated: int
    error: str
    hand: datetime | None
    helper: str
    need: Need

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        moments = {"active": _iso(self.active), "hand": _iso(self.hand)}
        return asdict(self) | moments | {"need": self.need.name.lower()}


@dataclass(frozen=True)
class Progress:
    """How far the students of a board are with one assignment; ``mean`` is of the scores there are, from 0 to 1."""

    assignment: str
    submitted: int
    scored: int
    trouble: int
    mean: float | None


@dataclass(frozen=True)
class Totals:
    """The line above the tiles.

    Attributes:
        students: how many there are.
        servers: how many by state of the server.
        needs: how many by need.
        hand: since when the hand is up that nobody has taken for longest.
        progress: by assignment.
    """

    students: int
    servers: dict[ServerState, int]
    needs: dict[Need, int]
    hand: datetime | None
    progress: tuple[Progress, ...]

    @property
    def helpless(self) -> int:
        """How many need help."""
        return sum(count for need, count in self.needs.items() if need is not Need.NONE)

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        needs = {need.name.lower(): count for need, count in self.needs.items()}
        return asdict(self) | {"needs": needs, "hand": _iso(self.hand)}


def lively(students: Sequence[Student], now: datetime) -> bool:
    """Whether the class works: of those whose servers are on, at least half did something lately, and two did."""
    on = [each for each in students if each.lease is not None and each.lease.state is State.ACTIVE]
    at_work = sum(each.active is not None and now - each.active < IDLE for each in on)
    return at_work >= max(2, WORKING_SHARE * len(on))


def tiles(snapshot: Snapshot) -> list[Tile]:
    """One tile for each student, in the order of the roster."""
    return [_tile(each, snapshot) for each in snapshot.students]


def ranked(found: Sequence[Tile]) -> list[Tile]:
    """Who needs help first: hands (longest first, untaken before taken), errors, servers, idle ones, then by name."""
    return sorted(found, key=_rank)


def totals(snapshot: Snapshot, found: Sequence[Tile]) -> Totals:
    """What the line above the tiles says; ``found`` are the snapshot's tiles."""
    untaken = [each.hand for each in found if each.need is Need.HAND and each.hand is not None]
    return Totals(
        len(found),
        dict(sorted(Counter(each.server for each in found).items())),
        dict(sorted(Counter(each.need for each in found).items())),
        min(untaken, default=None),
        tuple(_progress(name, snapshot.students) for name in snapshot.assignments),
    )


def _rank(tile: Tile) -> tuple[Need, float, str, str]:
    within = 0.0
    if tile.need in (Need.HAND, Need.TAKEN) and tile.hand is not None:
        within = tile.hand.timestamp()
    elif tile.need is Need.ERRORS:
        within = -tile.repeated
    return tile.need, within, tile.name, tile.login


def _tile(student: Student, snapshot: Snapshot) -> Tile:
    lease, now = student.lease, snapshot.at
    there = server(student.person.login, [lease] if lease else [], ())
    on = there.state == "on"
    report = student.report or Report()
    fresh = on and not report.late(now)
    work = [student.work[name] for name in snapshot.assignments if name in student.work]
    shares = [each.score / each.most for each in work if each.score is not None and each.most]
    since = now - datetime.fromtimestamp(lease.changed_at, now.tzinfo) if lease else timedelta(0)
    stuck = there.state == "lost" or (there.state in ("starting", "stopping") and since >= STUCK)
    repeated = report.repeated if fresh and report.repeated >= REPEATED else 0
    active = student.active
    quiet = since if active is None else min(since, now - active)
    idle = on and snapshot.lively and quiet >= IDLE and not (fresh and report.busy)
    return Tile(
        login=student.person.login,
        name=student.person.name,
        team=student.person.team,
        server=there.state,
        ahead=student.ahead,
        gpu=there.gpu,
        memory=there.memory,
        used=None if student.used is None or not there.memory else student.used // USED_STEP * USED_STEP,
        stuck=stuck,
        session=report.session,
        kind=report.kind,
        busy=fresh and report.busy,
        active=active and active.replace(second=0, microsecond=0),
        submitted=len(work),
        scored=len(shares),
        trouble=sum(each.stage in ("quarantined", "failed") for each in work),
        assignments=len(snapshot.assignments),
        share=sum(shares) / len(shares) if shares else None,
        repeated=repeated,
        error=report.errors[0].name if repeated and report.errors else "",
        hand=student.hand.raised_at if student.hand else None,
        helper=student.helper,
        need=_need(student, repeated=bool(repeated), stuck=stuck, idle=idle),
    )


def _need(student: Student, *, repeated: bool, stuck: bool, idle: bool) -> Need:
    if student.hand is not None:
        return Need.TAKEN if student.hand.taken_by else Need.HAND
    if repeated:
        return Need.ERRORS
    if stuck:
        return Need.SERVER
    return Need.IDLE if idle else Need.NONE


def _progress(name: str, students: Sequence[Student]) -> Progress:
    work = [each.work[name] for each in students if name in each.work]
    shares = [each.score / each.most for each in work if each.score is not None and each.most]
    return Progress(
        name,
        len(work),
        len(shares),
        sum(each.stage in ("quarantined", "failed") for each in work),
        sum(shares) / len(shares) if shares else None,
    )


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
