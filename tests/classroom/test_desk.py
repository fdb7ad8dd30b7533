"""The class desk of a really open class: who gets in through the hub, and what a container's token opens."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from gpuclass.desk.acts import ACTS
from gpuclass.rehearsal import Visitor
from tests.classroom.conftest import OpenClass
from tests.classroom.inside import Inside


async def desk(visitor: Visitor, classroom: OpenClass, path: str) -> tuple[int, str]:
    url = f"{classroom.settings.desk_site}/services/desk/{path}"
    answer = await visitor.request("GET", url, headers={"Accept": "text/html"})
    return answer.status_code, answer.text


@pytest.mark.parametrize(("login", "name"), [("s001", "이하나"), ("teacher", "김선생"), ("mentor1", "박멘토")])
async def test_somebody_logged_in_at_the_hub_is_known_at_the_desk(classroom: OpenClass, login: str, name: str) -> None:
    async with classroom.visitor(login) as visitor:
        await visitor.log_in()
        status, text = await desk(visitor, classroom, "me")
        assert status == 200
        assert name in text


async def test_a_stranger_sees_the_hubs_log_in(classroom: OpenClass) -> None:
    async with classroom.visitor("s001") as visitor:
        _, text = await desk(visitor, classroom, "me")
        assert 'name="password"' in text
        assert "이하나" not in text


async def test_a_containers_token_reaches_the_desk_and_opens_none_of_its_pages(
    inside: Inside, classroom: OpenClass
) -> None:
    url = classroom.settings.desk_url
    assert (await inside.tries(f"http('GET', '{url}/health')"))["status"] == 200
    for path in ("", "me", "board", "board/stream", "audit"):
        found = await inside.tries(f"http('GET', '{url}/{path}', Cookie='desk=' + os.environ['JUPYTERHUB_API_TOKEN'])")
        assert found["status"] in (401, 404), (path, found)


async def test_a_containers_token_begins_no_session_at_the_desk(inside: Inside, classroom: OpenClass) -> None:
    """Else whatever runs in a teacher's container would be the teacher at the desk."""
    hub = classroom.settings.hub_api
    back = f"{classroom.settings.desk_site}/services/desk/oauth_callback"
    query = f"client_id=service-desk&redirect_uri={back}&response_type=code&state=x"
    found = await inside.tries(f"http('GET', '{hub}/oauth2/authorize?{query}')")
    assert "/hub/login?" in found["url"], found


async def test_a_students_server_has_their_panel_and_no_other_way_to_the_desk(classroom: OpenClass) -> None:
    async with classroom.visitor("s001") as student:
        await student.log_in()
        await student.start_server()
        panel = await student.request("GET", f"{student.server}/gpuclass/panel")
        assert panel.status_code == 200, panel.text
        assert "내 과제" in panel.text
        for path in ("board", "me", "hand/../../me"):
            answer = await student.request("GET", f"{student.server}/gpuclass/panel/{path}")
            assert answer.status_code == 404, path


async def test_a_students_notebook_reports_to_the_desk_and_the_student_reads_what(classroom: OpenClass) -> None:
    async with classroom.visitor("s002") as student:
        await student.log_in()
        await student.start_server()
        path = "notebooks/mine.ipynb"  # in no session's folder
        asked = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
        session = await student.call("POST", f"{student.server}/api/sessions", json=asked)
        async with student.connected(session["kernel"]["id"]) as kernel:
            for _ in range(2):
                assert (await kernel.run("raise LookupError('mine')")).error == "LookupError"
        deadline = time.monotonic() + 15
        while "LookupError 2번" not in (page := (await desk(student, classroom, "me"))[1]):
            assert time.monotonic() < deadline, page
            await asyncio.sleep(0.2)
        assert "mine" not in page
    log = (classroom.settings.data / "log" / "desk.log").read_text(encoding="utf-8")
    assert "GET /services/desk/me" in log
    assert "POST /services/desk/own/report" not in log, "eighty servers report every half minute"


async def press(visitor: Visitor, classroom: OpenClass, path: str, **fields: str) -> tuple[int, str]:
    """Press the only button of a question page, as a browser without scripts would."""
    site = classroom.settings.desk_site
    url = f"{site}/services/desk/{path}"
    page = await visitor.request("GET", url, headers={"Accept": "text/html"})
    found = re.search(r'name="_xsrf" value="(\w+)"', page.text)
    token = found[1] if found else ""
    answer = await visitor.request(
        "POST", url, follow=False, data={"_xsrf": token, **fields}, headers={"Origin": site, "Accept": "text/html"}
    )
    return answer.status_code, answer.headers.get("location", "")


async def test_a_teacher_stops_and_starts_a_students_server_and_it_is_written_down(classroom: OpenClass) -> None:
    async with classroom.visitor("s002") as student, classroom.visitor("teacher") as teacher:
        await student.log_in()
        await student.start_server()
        await teacher.log_in()
        assert await press(teacher, classroom, "student/s002/stop") == (
            303,
            "/services/desk/student/s002?said=stop",
        )
        for _ in range(60):
            status, text = await desk(teacher, classroom, "student/s002")
            if "꺼져 있어요" in text:
                break
            await asyncio.sleep(0.5)
        assert "꺼져 있어요" in text
        assert (await press(teacher, classroom, "student/s002/start"))[0] == 303
        for _ in range(120):
            status, text = await desk(teacher, classroom, "student/s002")
            if "켜져 있어요" in text:
                break
            await asyncio.sleep(0.5)
        assert (status, "켜져 있어요" in text) == (200, True)
        _, text = await desk(teacher, classroom, "audit?subject=s002")
        assert "stop" in text
        assert "start" in text


async def test_a_mentor_gets_nothing_of_another_team_by_any_address(classroom: OpenClass) -> None:
    async with classroom.visitor("mentor1") as mentor:
        await mentor.log_in()
        assert (await desk(mentor, classroom, "student/s001"))[0] == 200
        for path in ("student/s003", *(f"student/s003/{name}" for name in ACTS), "audit"):
            status, text = await desk(mentor, classroom, path)
            assert status == 403, path
            assert "정세찬" not in text
        for name in ACTS:
            status, _ = await press(mentor, classroom, f"student/s003/{name}", assignment="00-warm-up", until="+1h")
            assert status == 403, name


async def test_a_student_reaches_nobody_elses_page(classroom: OpenClass) -> None:
    async with classroom.visitor("s001") as student:
        await student.log_in()
        for path in ("student/s001", "student/s002", "student/s002/stop", "audit"):
            assert (await desk(student, classroom, path))[0] == 403, path
