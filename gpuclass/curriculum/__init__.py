"""The curriculum: from py:percent sources to the notebooks in a student's home.

``building`` turns sources into notebooks, ``releasing`` commits them into a bare git repository and lays exercises into
the course folder, ``checking`` says what is wrong in a source; all three run on the host. ``merging`` runs inside the
student's container, so importing it from here needs the standard library only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gpuclass.curriculum.merging import MergeResult, merge

if TYPE_CHECKING:
    from gpuclass.curriculum.building import build
    from gpuclass.curriculum.checking import check
    from gpuclass.curriculum.releasing import prepare_course, release

__all__ = ["MergeResult", "build", "check", "merge", "prepare_course", "release"]

_HOST_ONLY = {"build": "building", "check": "checking", "prepare_course": "releasing", "release": "releasing"}


def __getattr__(name: str) -> Any:
    """Load what only the host uses (jupytext, settings) when it is asked for."""
    if name not in _HOST_ONLY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOST_ONLY[name]}"), name)
