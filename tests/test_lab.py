"""What a user's server does before and after it answers; the parts that need no container."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import gpuclass.curriculum
from gpuclass import lab
from gpuclass.curriculum import MergeResult
from gpuclass.singleuser import CERTIFICATES, Absent, OnDemand, link_course, missing, no_certificates, stand_ins


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package of three modules that nobody has imported yet."""
    folder = tmp_path / "gpc_hub"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "orm.py").write_text("class Error(Exception): pass\nloaded = True\n", encoding="utf-8")
    (folder / "utils.py").write_text("from gpc_hub.orm import Error\nfrom gpc_hub import orm\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield "gpc_hub"
    for name in [name for name in sys.modules if name.partition(".")[0] == "gpc_hub"]:
        del sys.modules[name]


def test_a_stood_in_module_is_not_loaded_and_the_real_one_comes_after(package: str) -> None:
    with stand_ins([f"{package}.orm"]):
        utils = import_module(f"{package}.utils")
    assert utils.Error is Absent
    assert f"{package}.orm" not in sys.modules
    assert import_module(f"{package}.orm").loaded is True
    assert sys.modules[package].orm.loaded is True


def test_what_is_loaded_already_is_not_stood_in_for(package: str) -> None:
    orm = import_module(f"{package}.orm")
    with stand_ins([f"{package}.orm"]):
        utils = import_module(f"{package}.utils")
    assert utils.Error is orm.Error


def test_nothing_is_of_an_absent_class_and_it_cannot_be_used() -> None:
    assert not issubclass(OSError, Absent)
    assert not isinstance(OSError(), Absent)
    with pytest.raises(RuntimeError, match="belongs to the hub"):
        Absent()


def test_a_module_on_demand_is_loaded_by_its_first_use(package: str) -> None:
    sys.modules["gpc_hub.orm"] = OnDemand("gpc_hub.orm")
    utils = import_module(f"{package}.utils")  # takes Error from it
    assert utils.Error.__mro__[1] is Exception
    assert sys.modules["gpc_hub.orm"].loaded is True


def test_submodules_of_a_module_on_demand_can_be_imported(package: str) -> None:
    sys.modules[package] = OnDemand(package)
    assert import_module(f"{package}.orm").loaded is True


@pytest.mark.slow
def test_the_single_user_server_of_this_jupyterhub_needs_no_database() -> None:
    code = """
        import sys
        from gpuclass.singleuser import HUB_ONLY, Absent, stand_ins

        with stand_ins(HUB_ONLY):
            import jupyterhub.singleuser.extension
        left = [name for name in sys.modules if name.startswith(("sqlalchemy", "alembic", "jupyterhub.handlers"))]
        assert not left, left
        from jupyterhub.scopes import _intersect_expanded_scopes as both
        assert both({"access:servers!user=a"}, {"access:servers!server=a/"}) == {"access:servers!server=a/"}
        assert both({"access:servers!user=b"}, {"access:servers!server=a/"}) == set()
        import sqlalchemy
        assert sqlalchemy.create_engine("sqlite://").connect().exec_driver_sql("select 1").scalar() == 1
    """
    subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(code)], check=True)


def test_a_hidden_module_is_missing_within_the_block_only(package: str) -> None:
    with missing([f"{package}.orm"]), pytest.raises(ImportError):
        import_module(f"{package}.orm")
    assert import_module(f"{package}.orm").loaded is True
    with missing([f"{package}.orm"]):
        assert import_module(f"{package}.orm").loaded is True, "it was there before"


@pytest.mark.parametrize("before", [{}, {CERTIFICATES: "/own/list.pem"}])
def test_no_list_of_certificates_is_read_for_a_hub_without_tls(before: dict[str, str]) -> None:
    environment = {"JUPYTERHUB_API_URL": "http://10.89.0.1:8081/hub/api", **before}
    with no_certificates(environment):
        assert environment[CERTIFICATES] == "/dev/null"
    assert environment.get(CERTIFICATES) == before.get(CERTIFICATES)


def test_a_hub_with_tls_is_checked_as_ever() -> None:
    environment = {"JUPYTERHUB_API_URL": "https://10.89.0.1:8081/hub/api"}
    with no_certificates(environment):
        assert CERTIFICATES not in environment


def test_the_course_appears_in_an_instructors_home(tmp_path: Path) -> None:
    home, course = tmp_path / "home", tmp_path / "course"
    home.mkdir()
    link_course(home, course)
    assert list(home.iterdir()) == [], "there is no course yet"
    course.mkdir()
    (home / "course").symlink_to(tmp_path / "gone")
    link_course(home, course)
    link_course(home, course)
    assert (home / "course").readlink() == course


def test_a_folder_of_the_instructors_own_is_left_alone(tmp_path: Path) -> None:
    course = tmp_path / "srv"
    course.mkdir()
    (tmp_path / "course").mkdir()
    link_course(tmp_path, course)
    assert not (tmp_path / "course").is_symlink()


async def test_one_merge_runs_at_a_time_and_the_last_result_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = threading.Semaphore(1)

    def merge(repository: Path, home: Path) -> MergeResult:
        assert running.acquire(blocking=False), "two merges at once"
        threading.Event().wait(0.05)
        running.release()
        return MergeResult("updated", updated=("00.ipynb",))

    monkeypatch.setattr(gpuclass.curriculum, "merge", merge)
    curriculum = lab.Curriculum(tmp_path / "repository", tmp_path / "home", "en")
    assert curriculum.last is None
    results = await asyncio.gather(*(curriculum.merge() for _ in range(3)))
    assert curriculum.last == results[-1]
    assert curriculum.last["updated"] == ("00.ipynb",)
    assert curriculum.last["text"] == MergeResult("updated", updated=("00.ipynb",)).text("en")
