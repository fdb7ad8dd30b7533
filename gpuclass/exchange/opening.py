"""When students see score and feedback of what was graded: ``[grading] feedback`` at one moment. Pure.

The setting speaks for all that is graded, also for what was graded under another; what a teacher has released is shown
whatever it says. Scores, pages and whatever quotes them go by this alone.
"""

from __future__ import annotations

from datetime import datetime

from gpuclass.settings import FeedbackPolicy


def opening(policy: FeedbackPolicy, due: datetime | None, now: datetime) -> FeedbackPolicy:
    """What ``policy`` comes to for one student and assignment.

    Args:
        policy: the class's.
        due: until when this student can hand in, extension included; None without a deadline.
        now: the server's time, aware.

    Returns:
        ``now``: score and feedback are shown as soon as there are some; ``after_deadline``: they will be when ``due``
        has passed; ``on_release``: a teacher has to release them. Without a deadline nothing opens by itself.
    """
    if policy != "after_deadline":
        return policy
    if due is None:
        return "on_release"
    return "now" if now > due else "after_deadline"  # the very moment is in time, and others may still hand in
