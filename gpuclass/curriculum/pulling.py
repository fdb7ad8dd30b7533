"""What the child of :func:`gpuclass.curriculum.merging.merge` does: nbgitpuller, and what makes it safe at every start.

A git that is deaf to the student's configuration, notebooks merged by cells, recovery when ``.git`` is broken, and a
last look that no text of the student's is gone. nbgitpuller is loaded only when there is something to merge.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gpuclass.curriculum import cells
from gpuclass.curriculum.merging import MergeResult, Reason, failed

FOLDER = "notebooks"
BRANCH = "main"
RELEASED_BY = "gpuclass@localhost"  # author of release commits; the student's are nbgitpuller's
STALE_LOCK = 10.0  # seconds; git holds a lock in a repository of this size for a small part of one
MINIMUM_FREE_MIB = 16  # below this nothing is begun: git could write half a file
MINIMUM_FREE_FILES = 100
SCRATCH = ".gpuclass-merge-"
LOCK = ".gpuclass-merge.lock"


class _GitError(RuntimeError):
    """git said no."""


def _git(folder: Path, *arguments: str, check: bool = True) -> bytes:
    """git's output in a folder; empty where it failed and need not succeed."""
    done = subprocess.run(  # noqa: S603  # fixed program, arguments of our own
        ["git", *arguments],  # noqa: S607  # git is found on PATH, as nbgitpuller finds it
        cwd=folder,
        capture_output=True,
        check=False,
    )
    if check and done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise _GitError(f"git {arguments[0]}: {said}")
    return done.stdout if done.returncode == 0 else b""


def _paths(listing: bytes) -> list[str]:
    """git's ``-z`` output as paths."""
    return [os.fsdecode(path) for path in listing.split(b"\0") if path]


def pull(repository: Path, home: Path) -> MergeResult:
    """Bring ``home/notebooks`` up to the release; see :func:`gpuclass.curriculum.merging.merge`.

    Changes the environment of the process, which is to be a child of its own.
    """
    try:
        if not (repository / "HEAD").is_file():
            return failed("no-release", f"no repository at {repository}")
        if not _has_space(home):
            return failed("disk-full", f"less than {MINIMUM_FREE_MIB} MiB or {MINIMUM_FREE_FILES} files free")
        with _alone(home) as alone:
            if not alone:
                return failed("busy", "another merge holds the lock")
            with _scratch(home) as scratch:
                _configure_git(scratch, home)
                return _bring_up(repository.absolute().as_uri(), home / FOLDER, scratch)
    except (_GitError, OSError) as error:
        reason: Reason = "error" if not home.is_dir() or _has_space(home) else "disk-full"
        return failed(reason, f"{type(error).__name__}: {error}")


def _bring_up(url: str, folder: Path, scratch: Path) -> MergeResult:
    try:
        if not _git(scratch, "ls-remote", url, f"refs/heads/{BRANCH}"):
            return failed("no-release", f"{url} has no branch {BRANCH} yet")
    except _GitError as error:
        return failed("release-unreadable", str(error))
    before = _contents(folder)
    fresh = not os.path.lexists(folder)
    tracked: set[str] = set()
    trouble: Exception | None = None
    if _is_repository(folder):
        tracked = set(_paths(_git(folder, "ls-files", "-z", check=False)))
        try:
            _update(url, folder, scratch)
        except (_GitError, OSError) as error:
            trouble = error
    if trouble or not _is_repository(folder):
        try:
            release = _clone(url, scratch)
        except _GitError as error:  # then the release is at fault, or the disk: nothing was touched
            return failed("release-unreadable" if _has_space(scratch) else "disk-full", str(trouble or error))
        _adopt(release, folder)
    after = _contents(folder)
    known = set(_paths(_git(folder, "ls-files", "-z")))
    arrived = {path for path in after if after[path] != before.get(path)}
    changed = sorted(arrived & known)
    restored = tuple(path for path in changed if path not in before and path in tracked)
    return MergeResult(
        "fresh" if fresh else "updated" if changed else "unchanged",
        updated=tuple(path for path in changed if path not in restored),
        restored=restored,
        kept=tuple(_paths(_git(folder, "diff", "-z", "--name-only", "--diff-filter=MT", f"origin/{BRANCH}"))),
        set_aside=tuple(sorted(arrived - known)),
        detail=f"recovered from: {trouble}" if trouble else "",
    )


def _update(url: str, folder: Path, scratch: Path) -> None:
    """Let nbgitpuller merge the release into a folder that has a repository.

    Raises:
        _GitError, OSError: it could not; all files are as they were.
    """
    cut_off = _clear_locks(folder) or _git(folder, "rev-parse", "--quiet", "--verify", "MERGE_HEAD", check=False)
    _git(folder, "remote", "set-url", "origin", url)
    _git(folder, "fetch", "--quiet", "origin", f"+refs/heads/{BRANCH}:refs/remotes/origin/{BRANCH}")
    if cut_off:  # files that are missing were being written when an earlier merge was killed; nobody deleted them
        _git(folder, "reset", "--quiet", "--mixed")
        _restore(folder, _paths(_git(folder, "ls-files", "-z", "--deleted")))
    _clear_way(folder, _paths(_git(folder, "ls-tree", "-r", "-z", "--name-only", f"origin/{BRANCH}")))
    released = _git(folder, "rev-parse", f"origin/{BRANCH}").decode().strip()
    base = _git(folder, "merge-base", "HEAD", released).decode().strip()
    if base == released and not _git(folder, "ls-files", "-z", "--deleted"):
        return  # nothing new, nothing missing: most starts
    edited = _paths(_git(folder, "diff", "-z", "--name-only", "--diff-filter=MT", base))
    arriving = _paths(_git(folder, "diff", "-z", "--name-only", base, released))
    saved = _save(folder, {*edited, *arriving}, scratch)
    try:
        _nbgitpuller(url, folder)
    except (_GitError, OSError):  # git leaves half a file where the disk is full
        for path in {*edited, *arriving}:
            if path in saved:
                saved[path].replace(folder / path)
            else:
                (folder / path).unlink(missing_ok=True)
        raise
    for path in edited:
        if path in saved:
            was = _git(folder, "show", f"{base}:{path}", check=False)
            if not _holds(folder / path, saved[path].read_bytes(), base=was):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                saved[path].replace(folder / path)


def _save(folder: Path, paths: Iterable[str], scratch: Path) -> dict[str, Path]:
    """Copies of the files that are there, on the same file system: to move one back needs no space."""
    copies = scratch / "saved"
    copies.mkdir()
    saved = {}
    for number, path in enumerate(sorted(paths)):
        if (folder / path).is_file():
            saved[path] = Path(shutil.copy2(folder / path, copies / str(number)))
    return saved


def _nbgitpuller(url: str, folder: Path) -> None:
    from nbgitpuller.errors import GitPullerError
    from nbgitpuller.pull import GitPuller

    try:
        for _line in GitPuller(url, str(folder), branch=BRANCH, depth=0).pull():
            pass
    except (GitPullerError, subprocess.CalledProcessError) as error:
        raise _GitError(f"nbgitpuller: {error}") from error


def _clone(url: str, scratch: Path) -> Path:
    """The whole release, its history and every object checked, without a work tree."""
    clone = scratch / "clone"
    _git(scratch, "clone", "--quiet", "--no-checkout", "--branch", BRANCH, "--", url, str(clone))
    _git(clone, "fsck", "--no-dangling", "--no-progress")
    return clone


def _adopt(clone: Path, folder: Path) -> None:
    """Give ``~/notebooks`` the clone's repository around the files that are there.

    Missing files appear. A file whose text was once released is brought up to date; any other is the student's and
    stays. A ``.git`` that was there is set aside, with all its history.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        folder.rename(_free_name(folder))
    folder.mkdir(exist_ok=True)
    once_released = _blobs(clone) | _blobs(folder)
    if os.path.lexists(folder / ".git"):
        (folder / ".git").rename(_free_name(folder / ".git"))
    (clone / ".git").rename(folder / ".git")
    _git(folder, "reset", "--quiet", "--mixed")
    _clear_way(folder, _paths(_git(folder, "ls-files", "-z")))
    differing = _paths(_git(folder, "diff-files", "-z", "--name-only", "--diff-filter=MT"))
    stale = [path for path in differing if (path, _git(folder, "hash-object", path).decode().strip()) in once_released]
    _restore(folder, [*_paths(_git(folder, "ls-files", "-z", "--deleted")), *stale])


def _is_repository(folder: Path) -> bool:
    """Whether git reads the folder's own repository, not one further up."""
    if not folder.is_dir() or not (folder / ".git").is_dir():
        return False
    top = _git(folder, "rev-parse", "--show-toplevel", check=False).decode().strip()
    return bool(top) and Path(top) == folder.resolve() and bool(_git(folder, "rev-parse", "HEAD", check=False))


def _blobs(folder: Path) -> set[tuple[str, str]]:
    """Path and object id of each file in every release that this repository remembers."""
    found: set[tuple[str, str]] = set()
    for commit in _git(folder, "rev-list", f"--author={RELEASED_BY}", "--all", "HEAD", check=False).decode().split():
        for line in _git(folder, "ls-tree", "-r", "-z", commit, check=False).split(b"\0"):
            meta, _, path = line.partition(b"\t")
            if path:
                found.add((os.fsdecode(path), meta.split()[2].decode()))
    return found


def _restore(folder: Path, paths: Sequence[str]) -> None:
    if paths:
        _git(folder, "checkout", "--quiet", "HEAD", "--", *paths)


def _clear_way(folder: Path, released: Iterable[str]) -> None:
    """Rename what the student made where the release has a folder or a file of another kind."""
    for path in released:
        here = folder
        for part in Path(path).parts[:-1]:
            here /= part
            if os.path.lexists(here) and (here.is_symlink() or not here.is_dir()):
                here.rename(_free_name(here))
        target = folder / path
        if target.is_symlink() or target.is_dir():
            target.rename(_free_name(target))


def _clear_locks(folder: Path) -> bool:
    """Wait for git's lock files to go; remove those that a killed process left and say so."""
    deadline = time.monotonic() + STALE_LOCK
    while locks := [path for path in (folder / ".git").rglob("*.lock") if path.is_file()]:
        if time.monotonic() >= deadline or all(_age(lock) >= STALE_LOCK for lock in locks):
            for lock in locks:
                lock.unlink(missing_ok=True)
            return True
        time.sleep(0.2)
    return False


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return STALE_LOCK


def _holds(path: Path, yours: bytes, *, base: bytes) -> bool:
    """Whether a merged file still has what the student wrote."""
    try:
        now = path.read_bytes()
    except OSError:
        return False
    if path.suffix != ".ipynb" or now == yours:
        return True
    mine, merged = cells.sources(yours), cells.sources(now)
    if mine is None or merged is None:
        return False
    return set(mine) - set(cells.sources(base) or ()) <= set(merged)


def _free_name(path: Path) -> Path:
    """``name.yours-1.ext``: a name beside ``path`` that nothing has."""
    for number in range(1, 10_000):
        candidate = path.with_name(f"{path.stem}.yours-{number}{path.suffix}")
        if not os.path.lexists(candidate):
            return candidate
    raise OSError(f"ten thousand files are named like {path}")


def _contents(folder: Path) -> dict[str, bytes]:
    """Digest of each regular file below the folder, git's own and hidden ones left out."""
    found: dict[str, bytes] = {}
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(here, name)
            if not name.startswith(".") and path.is_file() and not path.is_symlink():
                with suppress(OSError), path.open("rb") as file:
                    found[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").digest()
    return found


def _has_space(home: Path) -> bool:
    status = os.statvfs(home)
    files_left = status.f_favail if status.f_files else MINIMUM_FREE_FILES  # some file systems do not count them
    return status.f_bavail * status.f_frsize >= MINIMUM_FREE_MIB * 2**20 and files_left >= MINIMUM_FREE_FILES


@contextmanager
def _alone(home: Path) -> Iterator[bool]:
    """Whether no other merge runs in this home; the kernel drops the lock with the process."""
    descriptor = os.open(home / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """A folder in the home, so that what is made there can be moved into place; earlier ones are swept."""
    for left in home.glob(f"{SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=home))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _configure_git(scratch: Path, home: Path) -> None:
    """git as nbgitpuller will run it: no user's or machine's configuration, notebooks merged by cells.

    A file, not ``-c`` or ``GIT_CONFIG_COUNT``: git drops those where it reads the release, so ``safe.directory`` in
    them has no effect.
    """
    attributes = scratch / "attributes"
    attributes.write_text("*.ipynb merge=cells\n", encoding="ascii")
    configuration = scratch / "config"
    settings = {
        "safe": {"directory": "*"},
        "core": {"attributesFile": str(attributes), "quotePath": "false", "hooksPath": os.devnull},
        "diff": {"renames": "false"},  # nbgitpuller looks for added files by the letter A
        "merge": {"renames": "false"},
        'merge "cells"': {"driver": f"{shlex.quote(sys.executable)} -I -m gpuclass.curriculum cells %O %A %B"},
        "gc": {"auto": "0"},  # a clean-up in the background would outlive us
    }
    lines = []
    for section, keys in settings.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items())]
    configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")  # git quotes " and \ as JSON does
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        del os.environ[name]
    os.environ |= {
        "GIT_CONFIG_GLOBAL": str(configuration),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CEILING_DIRECTORIES": str(home.resolve()),  # a repository that the student made of the home is not ours
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
