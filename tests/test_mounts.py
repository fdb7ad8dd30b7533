"""Which folders a user's container gets."""

from pathlib import Path

from gpuclass.mounts import mounts
from gpuclass.settings import Settings
from tests.conftest import MakeSettings


def bind(source: Path, target: str, read_only: bool) -> dict[str, object]:
    return {"type": "bind", "source": str(source), "target": target, "read_only": read_only}


def everything_exists(_: Path) -> bool:
    return True


def test_a_student_gets_the_own_home_and_the_curriculum_to_read(settings: Settings) -> None:
    assert mounts("s001", teaches=False, settings=settings, exists=everything_exists) == [
        bind(settings.homes / "s001", "/home/jovyan", read_only=False),
        bind(settings.curriculum_repository, "/srv/curriculum.git", read_only=True),
    ]


def test_an_instructor_gets_the_course_folder_too_and_no_students_home(settings: Settings) -> None:
    found = mounts("teacher", teaches=True, settings=settings, exists=everything_exists)
    assert bind(settings.course_folder, "/srv/course", read_only=False) in found
    assert [m["source"] for m in found if m["source"].startswith(str(settings.homes))] == [
        str(settings.homes / "teacher")
    ]


def test_datasets_are_mounted_to_read_when_the_class_has_some(make_settings: MakeSettings) -> None:
    settings = make_settings('[curriculum]\ndatasets = "/data/sets"')
    found = mounts("s001", teaches=False, settings=settings, exists=everything_exists)
    assert bind(Path("/data/sets"), "/srv/datasets", read_only=True) in found


def test_a_missing_curriculum_does_not_stop_a_start(settings: Settings) -> None:
    found = mounts("s001", teaches=False, settings=settings)
    assert [m["target"] for m in found] == ["/home/jovyan"]


def test_nothing_of_a_students_container_can_be_written_but_the_home(settings: Settings) -> None:
    found = mounts("s001", teaches=False, settings=settings, exists=everything_exists)
    assert [m["target"] for m in found if not m["read_only"]] == ["/home/jovyan"]
