"""Starts JupyterHub's single-user server inside the container, without the parts of the hub that it never uses.

``jupyterhub.singleuser`` imports the hub's request handlers for one ``isinstance`` and, through them and the scopes,
the hub's database layer: SQLAlchemy, alembic, every handler. A user's server has no database and serves no hub page.
While JupyterHub is imported those modules are stood in for by empty ones; afterwards the names are free again, so that
nbgrader finds the real SQLAlchemy. A few modules that come along for nothing are left out likewise. What all that saves
is in docs/explanation/images.md.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

CONFIG = Path("/etc/jupyter")
COURSE = Path("/srv/course")
INSTRUCTOR = "instructor"
CERTIFICATES = "SSL_CERT_FILE"  # OpenSSL's variable
HUB_ONLY = ("jupyterhub.handlers", "jupyterhub.orm", "sqlalchemy")
LAB_ONLY = ("jupyterlab.extensions.pypi",)
"""Lab's installer of extensions and its HTTP client: the image is read-only, and so is its list of extensions."""
OPTIONAL = ("aiodns", "rfc3986_validator")
"""What aiohttp and jsonschema do without when it is not installed. The hub has an address and no name to resolve, and
the second, 25 ms of regular expression, would look at the addresses in schemas that come with the packages."""
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
    with stand_ins((*HUB_ONLY, *LAB_ONLY)), missing(OPTIONAL), no_certificates(os.environ):
        from jupyterhub.singleuser.extension import main as serve

        importlib.import_module("jupyterlab.labapp")  # now, while what it never uses here is stood in for

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
def missing(names: Sequence[str]) -> Iterator[None]:
    """Within the block, ``names`` cannot be imported; those that are loaded already are left as they are."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None means "cannot be imported" there
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def no_certificates(environment: MutableMapping[str, str]) -> Iterator[None]:
    """Within the block, OpenSSL finds no list of certificates, where the hub is spoken to without TLS.

    aiohttp reads the list when it is imported, 20 ms, and the server uses aiohttp for the hub alone.
    """
    if not environment.get("JUPYTERHUB_API_URL", "").startswith("http://"):
        yield
        return
    before = environment.get(CERTIFICATES)
    environment[CERTIFICATES] = os.devnull
    try:
        yield
    finally:
        if before is None:
            del environment[CERTIFICATES]
        else:
            environment[CERTIFICATES] = before


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
