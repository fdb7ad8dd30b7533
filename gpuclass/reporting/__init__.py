"""What a notebook reports to the class desk: which session, how many cells, which errors. Never code, text or output.

``telling`` runs in each kernel and counts; ``listening`` and ``posting`` run in the user's server, which adds up and
sends. What the desk keeps of it is gpuclass.desk.reports; why it is as it is, docs/explanation/reports.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/tmp/gpuclass/reports")
"""Where the user's server listens for its kernels."""
DATAGRAM_LIMIT = 2048  # bytes of what a kernel says at once
CLASSES_LIMIT = 20  # error classes that one kernel counts apart
CLASS_LIMIT = 60  # characters of an error class's name
INSTRUCTOR = "instructor"  # as in gpuclass.singleuser, whose imports a kernel has no use for


def wanted(environ: Mapping[str, str]) -> bool:
    """Whether anything is reported from here: the class has a desk and wants reports, and this is no instructor's."""
    return (
        bool(environ.get("GPUCLASS_DESK_URL"))
        and environ.get("GPUCLASS_REPORTS", "1") != "0"
        and environ.get("GPUCLASS_ROLE") != INSTRUCTOR
    )


def class_name(name: object) -> str | None:
    """An error class's name if it may be reported: a plain ASCII identifier of bounded length; else None."""
    fits = type(name) is str and len(name) <= CLASS_LIMIT and name.isascii() and name.isidentifier()
    return str(name) if fits else None
