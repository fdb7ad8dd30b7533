"""The built curriculum into the class: lectures into a bare git repository, exercises into nbgrader's course folder.

Students' containers fetch from the repository while it is written, so a release appears at once or not at all: objects
first, then one move of the branch. Nothing here touches a student's home.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gpuclass.curriculum.building import exercise_files, lecture_files, write_files
from gpuclass.curriculum.errors import ReleaseError
from gpuclass.curriculum.pulling import BRANCH, RELEASED_BY
from gpuclass.settings import SERVICE_UID, Settings

REFERENCE = f"refs/heads/{BRANCH}"
AUTHOR = "gpuclass"
MANIFEST = "curriculum.json"  # in the course folder: the hash of each exercise file as it was last laid there
GIT_TIMEOUT = 120  # seconds; the repository is local and small


@dataclass(frozen=True)
class Release:
    """What a release did."""

    commit: str
    changed: bool
    files: int


@dataclass(frozen=True)
class Course:
    """What laying out the exercises did; paths below nbgrader's ``source/``."""

    written: tuple[str, ...]
    kept: tuple[str, ...]  # an instructor edited them; the curriculum's version was not written
    unchanged: tuple[str, ...]


def release(settings: Settings) -> Release:
    """Build the class's sessions and commit them; no commit when nothing changed.

    Raises:
        SourceError: a session is missing or at fault.
        ReleaseError: git failed. Students keep the last release.
    """
    files = lecture_files(settings.curriculum.sessions)
    return commit(files, settings.curriculum_repository)


def commit(files: Mapping[str, bytes], repository: Path) -> Release:
    """Make these files the repository's whole content, as one commit on ``main``.

    A repository that git cannot read is set aside beside its place and begun anew.
    """
    with _git(repository) as git:
        if not git.readable():
            git.begin()
        tree = git.tree(files)
        old = git.ask("rev-parse", "--quiet", "--verify", REFERENCE)
        if old and git("rev-parse", f"{old}^{{tree}}") == tree:
            return Release(old, changed=False, files=len(files))
        parents = ("-p", old) if old else ()
        new = git("commit-tree", tree, *parents, "-m", f"Curriculum: {len(files)} files")
        give_to_service(repository)  # before the branch moves: a student may read at once
        git("update-ref", REFERENCE, new, old or "0" * len(new))
        give_to_service(repository)
        return Release(new, changed=True, files=len(files))


class _Git:
    """git on one bare repository, deaf to the user's own configuration."""

    def __init__(self, repository: Path, scratch: Path) -> None:
        self.repository = repository
        self.scratch = scratch
        configuration = scratch / "gitconfig"  # the repository may be the service user's while root releases
        configuration.write_text("[safe]\n\tdirectory = *\n[core]\n\tautocrlf = false\n", encoding="ascii")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        self.environment = inherited | {
            "LC_ALL": "C",
            "GIT_CONFIG_GLOBAL": str(configuration),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_DIR": str(repository),
            "GIT_INDEX_FILE": str(scratch / "index"),
            "GIT_AUTHOR_NAME": AUTHOR,
            "GIT_AUTHOR_EMAIL": RELEASED_BY,
            "GIT_COMMITTER_NAME": AUTHOR,
            "GIT_COMMITTER_EMAIL": RELEASED_BY,
        }

    def __call__(self, *arguments: str, work_tree: Path | None = None) -> str:
        """Run git and return what it prints.

        Raises:
            ReleaseError: git failed, hung, or is not there.
        """
        done = self._run(arguments, work_tree)
        if done.returncode:
            raise ReleaseError(
                f"git {arguments[0]} failed in {self.repository}: {done.stderr.strip()}. Students keep the last "
                "release; look at the disk's free space and at who owns that folder."
            )
        return done.stdout.strip()

    def ask(self, *arguments: str) -> str | None:
        """What git prints, without white space at the ends; None where it fails."""
        done = self._run(arguments, None)
        return None if done.returncode else done.stdout.strip()

    def _run(self, arguments: tuple[str, ...], work_tree: Path | None) -> subprocess.CompletedProcess[str]:
        environment = self.environment | ({"GIT_WORK_TREE": str(work_tree)} if work_tree else {})
        try:
            return subprocess.run(  # noqa: S603  # fixed program, arguments of our own
                ["git", *arguments],  # noqa: S607  # git is found on PATH, as everywhere
                env=environment,
                capture_output=True,
                text=True,
                timeout=GIT_TIMEOUT,
                check=False,
                cwd=work_tree or self.scratch,
            )
        except FileNotFoundError:
            raise ReleaseError("git is not installed: apt-get install git") from None
        except subprocess.TimeoutExpired:
            raise ReleaseError(
                f"git {arguments[0]} took longer than {GIT_TIMEOUT} s. Students keep the last release."
            ) from None

    def readable(self) -> bool:
        """Whether there is a repository, every object in it whole."""
        return self.repository.is_dir() and self.ask("fsck", "--no-dangling", "--no-progress") is not None

    def begin(self) -> None:
        """An empty repository in its place, at once; what was there stays beside it."""
        self.repository.parent.mkdir(parents=True, exist_ok=True)
        draft = self.repository.with_name(f".{self.repository.name}.{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        # Readable whatever the umask: students read it as another user than the one who releases.
        self("init", "--quiet", "--bare", "--shared=0644", f"--initial-branch={BRANCH}", str(draft))
        if self.repository.exists():
            aside = next(
                place
                for number in range(1, 1000)
                if not (place := self.repository.with_name(f"{self.repository.name}.broken-{number}")).exists()
            )
            self.repository.rename(aside)
        give_to_service(draft)
        draft.rename(self.repository)

    def tree(self, files: Mapping[str, bytes]) -> str:
        """Write these files as objects; the id of the tree that holds them."""
        work_tree = self.scratch / "files"
        work_tree.mkdir()
        write_files(files, work_tree)
        self("add", "--all", "--force", ".", work_tree=work_tree)
        return self("write-tree")


@contextmanager
def _git(repository: Path) -> Iterator[_Git]:
    with tempfile.TemporaryDirectory(prefix="gpuclass-release-") as scratch:
        yield _Git(repository.absolute(), Path(scratch))


def prepare_course(settings: Settings) -> Course:
    """Lay the instructor's versions of the class's exercises into nbgrader's ``source/``.

    A file that an instructor edited is kept as it is; one that was deleted comes back; the rest follows the curriculum.
    Safe to run again and again.
    """
    return lay_out(exercise_files(settings.curriculum.sessions), settings.course_folder)


def lay_out(files: Mapping[str, bytes], course_folder: Path) -> Course:
    """Write the files below ``course_folder/source`` unless an instructor changed them there."""
    planned = plan(files, course_folder)
    manifest = course_folder / MANIFEST
    laid = _read_manifest(manifest)
    for name in planned.written:
        _replace(course_folder / "source" / name, files[name])
    laid |= {name: _digest(files[name]) for name in (*planned.written, *planned.unchanged)}
    _replace(manifest, (json.dumps(laid, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())
    give_to_service(course_folder)
    return planned


def plan(files: Mapping[str, bytes], course_folder: Path) -> Course:
    """What `lay_out` would do."""
    laid = _read_manifest(course_folder / MANIFEST)
    written, kept, unchanged = [], [], []
    for name, content in files.items():
        path = course_folder / "source" / name
        there = _digest(path.read_bytes()) if path.is_file() else None
        if there == _digest(content):
            unchanged.append(name)
        elif there in (None, laid.get(name)):
            written.append(name)
        else:
            kept.append(name)
    return Course(tuple(written), tuple(kept), tuple(unchanged))


def _read_manifest(path: Path) -> dict[str, str]:
    """Hashes by path; none where the manifest is missing or broken, so that every differing file counts as edited."""
    try:
        laid = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, json.JSONDecodeError):
        return {}
    return laid if isinstance(laid, dict) else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)


def give_to_service(folder: Path) -> None:
    """Let the service user own a folder and all in it, where root made it; else nothing to do."""
    if os.geteuid() != 0:
        return
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):  # a draft that another process has renamed meanwhile
            if path.lstat().st_uid == 0:
                os.chown(path, SERVICE_UID, SERVICE_UID, follow_symlinks=False)
