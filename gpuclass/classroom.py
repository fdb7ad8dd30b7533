"""A class from closed to open and back: engine, images, data folder, network, processes. Leaves nothing behind.

On a server Ansible and systemd do these steps one by one; `gpuclass up` and the demo do them in one process.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker

from gpuclass import ROOT, engine, images, network, proxy, roster
from gpuclass.curriculum.building import LECTURES, session_names
from gpuclass.errors import PlainError
from gpuclass.login import authenticator_class
from gpuclass.processes import BIN, Supervisor, as_service_user, environment, service_user_may_read
from gpuclass.roster import Role, Roster
from gpuclass.settings import SERVICE_UID, Settings, refused

HOST_PACKAGES = ("debian-archive-keyring", "git", "mmdebstrap", "nftables")
TEST_PACKAGES = ("busybox-static", "chromium", "fonts-nanum", "gcc", "libc6-dev", "strace")
LOOPBACK = ipaddress.IPv4Address("127.0.0.1")
LOCKS = Path("/run/lock")

Say = Callable[[str], None]


class ClassroomError(PlainError):
    """The class could not be opened; the text says which step failed, and why."""


def check(settings: Settings) -> None:
    """Look for all that class.toml names: the roster, the sessions, the datasets, another authenticator.

    Raises:
        SettingsError: one message for everything that is not there.
    """
    faults = []
    if not settings.roster_path.is_file():
        faults.append(f"login.roster: {settings.roster_path} does not exist; roster.example.csv shows one")
    elif settings.gpu.seats:
        faults += _unknown_seats(settings.gpu.seats, roster.read(settings.roster_path))
    known = session_names(LECTURES)
    for session in settings.curriculum.sessions:
        if session not in known:
            faults.append(f"curriculum.sessions: there is no {session!r}; known: {', '.join(known)}")
    datasets = settings.datasets
    if datasets and not datasets.is_dir():
        faults.append(f"curriculum.datasets: {datasets} is not a folder")
    if faults:
        raise refused(settings.path, faults)
    authenticator_class(settings)


def _unknown_seats(seats: Iterable[str], people: Roster) -> list[str]:
    """Names in ``[gpu.seats]`` that fit nobody: a typing error would else give everybody an ordinary seat."""
    teams = {person.team for person in people.people if person.team}
    known = [*Role, "team", *sorted(teams)]
    return [
        f"gpu.seats: {who!r} is no role and no team; known: {', '.join(known)}" for who in seats if who not in known
    ]


def warnings(settings: Settings) -> list[str]:
    """What an operator should know before the class opens, one line each. Nothing on a developer's machine."""
    homes, data = settings.homes if settings.homes.exists() else settings.data, settings.data
    if settings.site.listen == LOOPBACK or homes.stat().st_dev != data.stat().st_dev:
        return []
    if os.statvfs(homes).f_blocks < os.statvfs(data).f_blocks:  # so a project quota shows
        return []
    return [
        f"{settings.homes} is on one file system with the databases and has no limit: a student who fills the disk "
        "stops hub, ledger and submissions. Give it a file system of its own or a project quota: docs/howto/disk.md"
    ]


def set_up(say: Say = print, *, tests: bool = False, holder: int | None = None) -> None:
    """Have everything that is not Python: the engine, Debian packages, the proxy, the images.

    Args:
        say: is told each step.
        tests: also what only the tests need.
        holder: process that the engine is started for; without it this one.

    Raises:
        PlainError: a step failed; the text says what to do.
    """
    engine.ensure(say, packages=(*HOST_PACKAGES, *(TEST_PACKAGES if tests else ())), holder=holder)
    proxy.install(say)
    images.build(say=say)


def start_from_examples(folder: Path) -> Path:
    """Put the example class.toml and roster into a folder that has none; the class.toml's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for example, name in (("class.example.toml", "class.toml"), ("roster.example.csv", "roster.csv")):
        if not (folder / name).exists():
            shutil.copy(ROOT / example, folder / name)
    return folder / "class.toml"


def give_to_service_user(folder: Path) -> None:
    """As root, hand the data folder to the service user: it owns everything in it. Homes are its own already."""
    if os.geteuid() != 0:
        return
    for path in (folder, *folder.iterdir()):
        os.chown(path, SERVICE_UID, SERVICE_UID, follow_symlinks=False)


def run_as_service_user(settings: Settings, *arguments: str) -> None:
    """Run ``gpuclass <arguments>`` with the service user's rights, its output on ours.

    Raises:
        ClassroomError: it failed.
    """
    command = as_service_user(
        (str(BIN / "python"), "-m", "gpuclass", *arguments),
        caller_uid=os.geteuid(),
        docker_gid=None,
        may_read_checkout=service_user_may_read(ROOT, Path(sys.executable), settings.data.parent),
    )
    done = subprocess.run(command, env=environment(settings, {}), cwd=settings.data)  # noqa: S603  # own program
    if done.returncode:
        raise ClassroomError(f"`gpuclass {' '.join(arguments)}` failed; its message stands above.")


def remove_containers(settings: Settings, say: Say = print) -> None:
    """Stop and remove the class's containers; what students saved is in their homes."""
    client = docker.from_env()
    try:
        found = client.containers.list(all=True, filters={"label": f"{network.CLASS_LABEL}={settings.class_.name}"})
        for container in found:
            container.remove(force=True, v=True)
        if found:
            say(f"Removed {len(found)} containers of {settings.class_.name}.")
    finally:
        client.close()


@contextmanager
def only_one(name: str, folder: Path = LOCKS) -> Iterator[None]:
    """Hold the class's name on this machine; given back by the kernel however the process ends.

    Raises:
        ClassroomError: somebody has opened a class of this name. Opening it again would take its containers away.
    """
    path = folder / f"gpuclass-{name}.lock"
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ClassroomError(
                f"A class called {name!r} is open on this machine already. Close it first (Ctrl-C where it runs), or "
                "give this one another `name` in class.toml."
            ) from None
        yield


@contextmanager
def opened(settings: Settings, say: Say = print, *, passwords: Path | None = None) -> Iterator[Supervisor]:
    """The class, open: everything set up and all processes running. At the end everything is as it was found.

    Args:
        settings: the class.
        say: is told each step.
        passwords: new file for the passwords of people who get one; without it the roster is not imported.

    Raises:
        PlainError: a step failed; what had been started is stopped.
    """
    check(settings)
    for warning in warnings(settings):
        say(f"Warning: {warning}")
    with ExitStack() as undo:
        undo.enter_context(only_one(settings.class_.name))
        undo.callback(engine.release, say)
        set_up(say)
        give_to_service_user(settings.data)
        if passwords:
            run_as_service_user(settings, "roster", "import", "--passwords", str(passwords))
        # Their own tests try the exercises that come with the software, and a release to students tries them again.
        run_as_service_user(settings, "curriculum", "release", "--unchecked")
        remove_containers(settings, say)  # what a killed run left
        undo.callback(network.down, settings)
        network.up(settings)
        undo.callback(remove_containers, settings, say)
        supervisor = Supervisor(settings, engine.docker_group_gid(), say)
        undo.callback(supervisor.stop)
        supervisor.start()
        yield supervisor
