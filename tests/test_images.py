"""What an image is built from, and what it is called."""

import io
import os
import re
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpuclass import ROOT, images


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two images, and a module that the student's takes."""
    for name, content in {
        "images/base/Dockerfile": "FROM debian",
        "images/base/packages.txt": "git\n",
        "images/student/Dockerfile": "FROM base",
        "images/student/start": "#!/bin/sh\n",
        "images/student/context.txt": "gpuclass/lab.py gpuclass/merge\n",
        "gpuclass/lab.py": "lab = 1\n",
        "gpuclass/hub.py": "hub = 1\n",
        "gpuclass/merge/__init__.py": "",
        "gpuclass/merge/__pycache__/__init__.cpython-313.pyc": "old",
        "certificates/school.crt": "-----BEGIN CERTIFICATE-----",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return tmp_path


def names(project: Path) -> tuple[str, str]:
    certificates = project / "certificates"
    return images.reference("base", project, certificates), images.reference("student", project, certificates)


def test_an_image_is_named_by_what_it_is_built_from(project: Path) -> None:
    base, student = names(project)
    assert re.fullmatch(r"gpuclass-base:[0-9a-f]{12}", base)
    assert re.fullmatch(r"gpuclass-student:[0-9a-f]{12}", student)
    assert (base, student) == names(project)


@pytest.mark.parametrize(
    ("changed", "renamed"),
    [
        ("images/student/start", (False, True)),
        ("gpuclass/lab.py", (False, True)),
        ("gpuclass/merge/__init__.py", (False, True)),
        ("gpuclass/hub.py", (False, False)),
        ("gpuclass/merge/__pycache__/__init__.cpython-313.pyc", (False, False)),
        ("images/base/packages.txt", (True, True)),
        ("certificates/school.crt", (True, True)),
    ],
)
def test_a_change_renames_the_images_that_hold_it(project: Path, changed: str, renamed: tuple[bool, bool]) -> None:
    before = names(project)
    (project / changed).write_text("changed\n", encoding="utf-8")
    assert tuple(old != new for old, new in zip(before, names(project), strict=True)) == renamed


def test_a_new_mode_renames_the_image_but_a_new_date_does_not(project: Path) -> None:
    start = project / "images/student/start"
    before = names(project)
    os.utime(start, (0, 0))
    assert names(project) == before
    start.chmod(0o755)
    assert names(project) != before


def test_the_context_holds_the_folder_the_listed_files_and_nothing_else(project: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(images.context("student", project))) as tar:
        assert tar.getnames() == ["Dockerfile", "context.txt", "gpuclass/lab.py", "gpuclass/merge/__init__.py", "start"]
        assert {(member.mtime, member.uid, member.gid) for member in tar} == {(0, 0, 0)}


def test_the_base_takes_the_certificates_of_the_host_where_there_are_any(project: Path) -> None:
    def held(folder: str) -> list[str]:
        with tarfile.open(fileobj=io.BytesIO(images.context("base", project, project / folder))) as tar:
            return [name for name in tar.getnames() if name.startswith("certificates")]

    assert held("certificates") == ["certificates", "certificates/school.crt"]
    assert held("nowhere") == ["certificates"], "COPY needs the folder even when it is empty"


def test_a_listed_file_that_is_missing_is_named(project: Path) -> None:
    (project / "gpuclass/lab.py").unlink()
    with pytest.raises(images.ImageError, match=r"student/context\.txt lists gpuclass/lab\.py, which does not exist"):
        images.reference("student", project)


def test_an_unknown_image_is_refused_with_the_known_ones() -> None:
    with pytest.raises(images.ImageError, match="no image 'gpu'; known: base, student, grader"):
        images.order(["gpu"])


def test_parents_are_built_first_and_once() -> None:
    assert images.order(["grader", "student", "base"]) == ["debian", "base", "student", "grader"]


def test_every_image_of_this_project_can_be_named() -> None:
    assert [images.reference(name).split(":")[0] for name in images.PARENTS] == [
        "gpuclass-base",
        "gpuclass-student",
        "gpuclass-grader",
    ]


def test_the_lock_has_hashes_and_no_address() -> None:
    lock = (ROOT / "images" / "student" / "requirements.txt").read_text(encoding="utf-8")
    assert "://" not in lock
    pinned = re.findall(r"^[a-z0-9.-]+==\S+ \\\n +--hash=sha256:[0-9a-f]{64}", lock, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z0-9]", lock, re.MULTILINE))


def test_student_and_hub_run_the_same_jupyterhub_and_nbgrader() -> None:
    def pinned(lock: str) -> set[str]:
        text = (ROOT / lock).read_text(encoding="utf-8")
        return set(re.findall(r"^(?:jupyterhub|nbgrader|nbgitpuller|nbformat)==\S+", text, re.MULTILINE))

    assert pinned("images/student/requirements.txt") == pinned("requirements/host.txt") != set()


def test_mirrors_and_proxies_of_a_debian_host_are_used() -> None:
    repositories = "http://mirror.example/debian-security/\nhttp://mirror.example/debian/\nhttp://other.example/x\n"
    configuration = 'APT::Architecture "amd64";\nAcquire::http::Proxy "http://proxy.example:3142";\n'
    command = images.mmdebstrap(["git"], Path("tree.tar"), repositories, configuration)
    assert '--aptopt=Acquire::http::Proxy "http://proxy.example:3142"' in command
    assert [line.split("] ")[1] for line in command if line.startswith("deb ")] == [
        "http://mirror.example/debian/ trixie main",
        "http://mirror.example/debian/ trixie-updates main",
        "http://mirror.example/debian-security/ trixie-security main",
    ]


def test_a_host_that_is_not_debian_takes_debians_own_addresses() -> None:
    command = images.mmdebstrap(["git"], Path("tree.tar"), "http://archive.ubuntu.com/ubuntu/\n")
    assert "http://deb.debian.org/debian trixie main" in command[-3]
    assert "http://deb.debian.org/debian-security trixie-security main" in command[-1]


@pytest.mark.parametrize(
    ("listing", "arguments"),
    [
        ("", {}),
        ("global.cert='/etc/ssl/certs/ca-certificates.crt'\nglobal.find-links='/opt/wheels'", {}),
        ("global.extra-index-url='file:///opt/pypi/simple'", {}),
        (
            "global.extra-index-url='file:///opt/simple https://mirror.example/simple'",
            {"PIP_EXTRA_INDEX_URL": "https://mirror.example/simple"},
        ),
        (
            ":env:.index-url='https://a.example/simple'\nglobal.index-url='https://b.example/simple'",
            {"PIP_INDEX_URL": "https://a.example/simple"},
        ),
        ("global.trusted-host='mirror.example'", {"PIP_TRUSTED_HOST": "mirror.example"}),
    ],
)
def test_index_settings_of_the_host_that_a_build_can_use_are_passed(listing: str, arguments: dict[str, str]) -> None:
    assert images.pip_arguments(listing) == arguments


def test_a_long_silent_step_shows_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "HEARTBEAT_SECONDS", 0.05)
    said: list[str] = []

    def lines() -> Iterator[str]:
        yield "Step 1/2 : RUN pip install"
        while not any("still at: Collecting torch" in line for line in said):
            yield "Collecting torch"
            time.sleep(0.2)
        yield "Done"

    assert images._follow(lines(), said.append, images._MILESTONE)[-1] == "Done"
    assert said[0] == "    Step 1/2 : RUN pip install"
    assert "Collecting torch" not in said
