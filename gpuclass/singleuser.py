"""Starts JupyterHub's single-user server inside the container, without the parts of the hub that it never uses.

``jupyterhub.singleuser`` imports the hub's request handlers for one ``isinstance`` and, through them and the scopes,
the hub's database layer: SQLAlchemy, alembic, every handler. A user's server has no database and serves no hub page.
While JupyterHub is imported those modules are stood in for by empty ones; afterwards the names are free again, so that
nbgrader finds the real SQLAlchemy. What that saves is in docs/explanation/images.md.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

CONFIG = Path("/etc/jupyter")
COURSE = Path("/srv/course")
INSTRUCTOR = "instructor"
HUB_ONLY = ("jupyterhub.handlers", "jupyterhub.orm", "sqlalchemy")
ON_DEMAND = ("requests", "websocket")
"""Imported by Jupyter's servers for lists of extensions and for kernel gateways, which a class does not have."""


def main() -> None:
    """Start the server of the role in ``GPUCLASS_ROLE``."""
    instructor = os.environ.get("GPUCLASS_ROLE") == INSTRUCTOR
    os.environ["JUPYTER_CONFIG_PATH"] = f"{CONFIG}/roles/{INSTRUCTOR if instructor else 'student'}:{CONFIG}"
    if instructor:
        link_course(Path.home())

    gc.disable()  # imports only add; gpuclass.lab switches it on again when the server answers
    for name in ON_DEMAND:
        sys.modules.setdefault(name, OnDemand(name))
    with stand_ins(HUB_ONLY):
        from jupyterhub.singleuser.extension import main as serve

    serve()


def link_course(home: Path, course: Path = COURSE) -> None:
    """Make the course folder appear in ``home``: Formgrader and Lab only open what lies below the server's root."""
    link = home / "course"
    if course.is_dir() and not link.exists():
        link.unlink(missing_ok=True)  # it may lead nowhere
        link.symlink_to(course)


class OnDemand(ModuleType):
    """Stands in ``sys.modules`` for a module that is imported when an attribute of it is first used.

    importlib's LazyLoader is no help: the ``import`` statement itself looks at an attribute and wakes it.
    """

    def __getattr__(self, attribute: str) -> Any:
        if (
            attribute.startswith("__") and attribute != "__path__"
        ):  # that one is asked for before a submodule is imported
            raise AttributeError(attribute)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), attribute)


class Absent(Exception):  # noqa: N818 - stands for classes of every kind; an exception, so that `except` takes it
    """Stands for a name of a module that was not loaded. Nothing is an instance of it, and it does nothing."""

    def __init__(self, *_: object) -> None:
        raise RuntimeError("this name belongs to the hub and was left out of the user's server: gpuclass/singleuser.py")


@contextmanager
def stand_ins(names: Sequence[str]) -> Iterator[None]:
    """Within the block, importing one of ``names`` or what lies below it gives an empty module.

    Names that are loaded already are left as they are.
    """
    finder = _StandInFinder(tuple(name for name in names if name not in sys.modules))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in finder.given:
            module = sys.modules.pop(name)
            parent, _, child = name.rpartition(".")
            if getattr(sys.modules.get(parent), child, None) is module:
                delattr(sys.modules[parent], child)


class _StandInFinder(MetaPathFinder, Loader):
    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.given: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(fullname == name or fullname.startswith(f"{name}.") for name in self.names):
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        self.given.append(module.__name__)
        module.__dict__["__getattr__"] = _absent


def _absent(name: str) -> type[Absent]:
    if name.startswith("__"):
        raise AttributeError(name)
    return Absent
