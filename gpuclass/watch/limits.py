"""What to do about a seat that uses more memory than it has: warn, then interrupt, then restart. Pure.

A seat is judged as a whole: all processes of its container on its device together, however many kernels they are.
Time over the limit is added up while the seat is over; it is forgotten only after the seat was within its limit for as
long as the warning lasts, so that going down for a moment and up again gains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from gpuclass.units import size
from gpuclass.watch.usage import WORDS

SCARCE = size("512M")  # so little free memory on the device that a neighbour's next tensor may fail
SCARCE_GRACE_S = 5.0  # then nobody is given longer than this: time to read the warning, not to finish an epoch
SETTLE_S = 6.0  # until the driver has freed what a killed process held
LONGEST_LOOK_S = 10.0  # a look that comes later than this counts as this long: the watch itself may have been asleep


class Step(IntEnum):
    """How far it has gone with a seat; also what to do when it gets there."""

    CALM = 0
    WARNED = 1
    INTERRUPTED = 2
    RESTARTED = 3

    @property
    def word(self) -> str:
        """As it is written in ``SeatUse.step``."""
        return WORDS[self]


@dataclass(frozen=True)
class Standing:
    """What is remembered of a seat from one look to the next.

    Attributes:
        step: what was done last.
        counted: seconds over the limit since then.
        looked_at: when it was looked at; 0 for never.
        over: whether it was over its limit then.
        within_since: since when it has been within its limit; 0 while it is not.
    """

    step: Step = Step.CALM
    counted: float = 0.0
    looked_at: float = 0.0
    over: bool = False
    within_since: float = 0.0


def judge(
    before: Standing, *, used: int | None, limit: int, now: float, over: float, scarce: bool = False
) -> tuple[Standing, Step | None]:
    """What becomes of a seat that is looked at now, and what has to be done, if anything.

    Args:
        before: how it stood.
        used: bytes that it uses; None when nobody knows. Then nothing is done and no time counts.
        limit: bytes that it may use.
        now: the moment.
        over: seconds between the steps (``[gpu] over``).
        scarce: whether the device has so little free memory that a neighbour is about to fail.
    """
    if used is None:
        return replace(before, looked_at=now, over=False, within_since=0.0), None
    if used <= limit:
        if before.step is Step.CALM:
            return Standing(looked_at=now), None
        since = before.within_since or now
        if now - since >= over:
            return Standing(looked_at=now), None
        return replace(before, looked_at=now, over=False, within_since=since), None
    if before.step is Step.CALM:
        return Standing(Step.WARNED, looked_at=now, over=True), Step.WARNED
    passed = min(max(now - before.looked_at, 0.0), LONGEST_LOOK_S) if before.over else 0.0
    counted = before.counted + passed
    if counted < patience(before.step, over=over, scarce=scarce):
        return replace(before, counted=counted, looked_at=now, over=True, within_since=0.0), None
    step = Step(min(before.step + 1, Step.RESTARTED))
    return Standing(step, looked_at=now, over=True), step


def patience(step: Step, *, over: float, scarce: bool) -> float:
    """Seconds over the limit from this step to the next."""
    if step is Step.RESTARTED:
        return min(over, SETTLE_S)  # what it started anew and is over again has had its warning
    return min(over, SCARCE_GRACE_S) if scarce else over


def to_restart(held: Mapping[int, int], limit: int) -> list[int]:
    """Which processes have to end so that the rest is within the limit: the largest first, no more than needed.

    Args:
        held: bytes by process.
        limit: bytes that they may hold together.
    """
    left = sum(held.values())
    chosen = []
    for process, memory in sorted(held.items(), key=lambda item: (-item[1], item[0])):
        if left <= limit:
            break
        chosen.append(process)
        left -= memory
    return chosen
