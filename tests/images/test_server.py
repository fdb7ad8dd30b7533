"""A user's server, started by the image's own command with a read-only root and without capabilities."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from gpuclass.trial import STRANGER, Server
from tests.images.conftest import StartServer

pytestmark = pytest.mark.images


def extensions(server: Server) -> set[str]:
    return {line.split()[4] for line in server.log().splitlines() if line.endswith("was successfully loaded.")}


def page_config(server: Server) -> dict[str, object]:
    page = server.request("GET", "lab").text
    start = page.index('<script id="jupyter-config-data" type="application/json">')
    config: dict[str, object] = json.JSONDecoder().raw_decode(page[page.index("{", start) :])[0]
    return config


def locale(server: Server) -> str | None:
    settings = server.request("GET", "lab/api/settings/@jupyterlab/translation-extension:plugin").json()
    found: str | None = settings["schema"]["properties"]["locale"]["default"]
    return found


def exercise(home: Path, solution: str) -> None:
    grade = {"grade": True, "solution": False, "locked": True, "points": 1, "grade_id": "t", "schema_version": 3}
    task = {"grade": False, "solution": True, "locked": False, "grade_id": "s", "schema_version": 3}
    cells = [
        new_code_cell(solution, metadata={"nbgrader": {**task, "task": False, "cell_type": "code"}}),
        new_code_cell("assert double(2) == 4", metadata={"nbgrader": {**grade, "task": False, "cell_type": "code"}}),
    ]
    nbformat.write(new_notebook(cells=cells), home / "exercise.ipynb")


def test_a_student_has_the_assignments_tab_and_the_self_check_but_not_formgrader(start: StartServer) -> None:
    with start(GPUCLASS_ROLE="student") as server:
        assert extensions(server) == {
            "gpuclass.lab",
            "jupyter_server_terminals",
            "jupyterhub",
            "jupyterlab",
        }
        assert set(page_config(server)["disabledExtensions"]) >= {  # type: ignore[call-overload]  # JSON
            "@jupyter/nbgrader:formgrader",
            "@jupyter/nbgrader:course-list",
            "@jupyter/nbgrader:create-assignment",
        }
        assert server.request("GET", "formgrader").status_code == 404
        assert server.request("GET", "nbgrader_version?version=0.9.6").json()["success"]
        assert not server.request("GET", "nbgrader_version?version=0.8.0").json()["success"]


def test_an_instructor_has_formgrader_on_the_course_folder(start: StartServer, home: Path, tmp_path: Path) -> None:
    course = tmp_path / "course"
    (course / "source" / "00-warm-up").mkdir(parents=True)
    for folder in (course, *course.rglob("*")):
        folder.chmod(0o777)
    with start(GPUCLASS_ROLE="instructor", GPUCLASS_COURSE="camp", volumes={f"{course}": "/srv/course"}) as server:
        page = server.request("GET", "formgrader")
        assert page.headers["Location"].endswith("/formgrader/manage_assignments")
        assert server.request("GET", "formgrader/manage_assignments").status_code == 200
        listed = server.request("GET", "formgrader/api/assignments").json()
        assert [assignment["name"] for assignment in listed] == ["00-warm-up"]
        assert "will not work correctly" not in server.log()
        assert (home / "course").readlink() == Path("/srv/course")
        assert "@jupyter/nbgrader:formgrader" not in page_config(server)["disabledExtensions"]  # type: ignore[operator]  # JSON


@pytest.mark.parametrize(("language", "expected"), [("ko", "ko_KR"), ("en", "default")])
def test_lab_speaks_the_language_of_the_class(language: str, expected: str, start: StartServer) -> None:
    with start(GPUCLASS_LANGUAGE=language) as server:
        assert locale(server) == expected
        catalogue = server.request("GET", "lab/api/translations/ko_KR").json()
        assert catalogue["data"]["jupyterlab"], "the Korean catalogue is installed"


def test_the_self_check_says_which_test_fails(start: StartServer, home: Path) -> None:
    with start() as server:
        exercise(home, "def double(x):\n    return x + x")
        right = server.request("POST", "assignments/validate", {"path": "exercise.ipynb"}).json()
        assert right["success"]
        assert "failed" not in right["value"], right
        exercise(home, "def double(x):\n    return x * x + 1")
        wrong = server.request("POST", "assignments/validate", {"path": "exercise.ipynb"}).json()
        assert "assert double(2) == 4" in json.dumps(wrong)


def test_the_server_answers_during_a_self_check(start: StartServer, home: Path) -> None:
    with start() as server:
        exercise(home, "import time\ntime.sleep(8)\ndef double(x):\n    return x + x")
        with ThreadPoolExecutor(1) as pool:
            check = pool.submit(server.request, "POST", "assignments/validate", {"path": "exercise.ipynb"})
            time.sleep(4)  # nbgrader is imported and the cell runs
            before = time.monotonic()
            assert server.request("GET", "api/contents").status_code == 200
            assert time.monotonic() - before < 2
            assert not check.done(), "the self-check was over before the server was asked"
            assert check.result().status_code == 200


def test_requests_without_a_token_are_refused(start: StartServer) -> None:
    with start() as server:
        for path in ("api/contents", "assignments", "nbgrader_version?version=0", "gpuclass/curriculum"):
            assert httpx.get(server.url + path).status_code in {302, 403}, path
        assert httpx.post(f"{server.url}assignments/validate", json={"path": "x"}).status_code == 403


def test_another_users_token_is_refused(start: StartServer) -> None:
    with start() as server:
        assert server.request("GET", "api/contents").status_code == 200
        assert server.request("GET", "api/contents", token=STRANGER).status_code == 403


@pytest.mark.parametrize(
    ("role", "host", "ancestors"),
    [
        ("student", "http://hub.localhost", "'none'"),
        ("instructor", "http://hub.localhost", "'self'"),
        ("instructor", "", "'none'"),
    ],
)
def test_only_an_instructor_with_an_own_domain_has_pages_in_frames(
    role: str, host: str, ancestors: str, start: StartServer
) -> None:
    with start(GPUCLASS_ROLE=role, JUPYTERHUB_HOST=host) as server:
        policy = server.request("GET", "lab").headers["Content-Security-Policy"]
        assert f"frame-ancestors {ancestors}" in policy


def test_a_kernel_runs_and_nothing_is_written_outside_home_and_tmp(start: StartServer, home: Path) -> None:
    with start() as server:
        exercise(home, "import matplotlib, torch\nopen('mine.txt', 'w').write('x')\ndef double(x):\n    return x + x")
        checked = server.request("POST", "assignments/validate", {"path": "exercise.ipynb"}).json()
        assert checked["success"]
        assert "failed" not in checked["value"], checked
        assert (home / "mine.txt").exists()
        assert [change["Path"] for change in server.container.diff() or []] in ([], ["/home"], ["/home/jovyan"])


def test_a_home_that_cannot_be_merged_into_does_not_stop_the_server(start: StartServer) -> None:
    with start() as server:
        deadline = time.monotonic() + 20
        while (said := server.request("GET", "gpuclass/curriculum").json()) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert said["state"] == "failed"
        assert said["reason"] == "no-release"
        assert said == server.request("POST", "gpuclass/curriculum").json()


def test_the_released_curriculum_is_in_the_home_soon_after_the_start(
    start: StartServer, home: Path, tmp_path: Path
) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(source), *arguments], check=True, capture_output=True)

    source = tmp_path / "release"
    source.mkdir()
    git("init", "-q", "-b", "main")
    nbformat.write(new_notebook(), source / "first.ipynb")
    git("add", "-A")
    git("-c", "user.name=gpuclass", "-c", "user.email=gpuclass@localhost", "commit", "-qm", "Release")
    subprocess.run(["git", "clone", "-q", "--bare", source, tmp_path / "curriculum.git"], check=True)
    with start(volumes={f"{tmp_path}/curriculum.git": "/srv/curriculum.git:ro"}) as server:
        deadline = time.monotonic() + 30
        while not (home / "notebooks" / "first.ipynb").exists():
            assert time.monotonic() < deadline, server.request("GET", "gpuclass/curriculum").text
            time.sleep(0.1)
