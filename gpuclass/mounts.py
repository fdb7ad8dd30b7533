"""Which folders a user's container gets. Pure: a user's name and role and the settings in, Docker mounts out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NotRequired, TypedDict

from gpuclass.settings import Settings

HOME = "/home/jovyan"
COURSE = "/srv/course"
CURRICULUM = "/srv/curriculum.git"
DATASETS = "/srv/datasets"
NOTICES = "/run/gpuclass"


class Mount(TypedDict):
    """One entry of DockerSpawner's ``mounts``."""

    type: str
    source: str
    target: str
    read_only: bool
    propagation: NotRequired[str]


def mounts(
    login: str,
    *,
    teaches: bool,
    settings: Settings,
    notices: Path | None = None,
    exists: Callable[[Path], bool] = Path.exists,
) -> list[Mount]:
    """Mounts of one user's container: their home, what is shared for reading, and the course folder for instructors.

    A shared folder that does not exist is left out: a missing curriculum or dataset must not stop a start.

    Args:
        login: the user's login; the roster allows only names that are safe as a folder.
        teaches: whether the user is an instructor of the course.
        settings: the class.
        notices: folder with what the holder of a seat is told; None where there are no seats.
        exists: whether a folder is there.
    """
    found = [_bind(settings.homes / login, HOME, read_only=False)]
    if teaches:
        found.append(_bind(settings.course_folder, COURSE, read_only=False))
    shared = {settings.curriculum_repository: CURRICULUM}
    if settings.datasets:
        shared[settings.datasets] = DATASETS
    found += [_bind(source, target, read_only=True) for source, target in shared.items() if exists(source)]
    if notices:
        found.append(_bind(notices, NOTICES, read_only=True))
    return found


def _bind(source: Path, target: str, *, read_only: bool) -> Mount:
    return {"type": "bind", "source": str(source), "target": target, "read_only": read_only}
