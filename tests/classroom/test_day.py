"""The main job: release, fetch, solve, submit, grade, feedback, through a real class."""

import asyncio
import json

from gpuclass import demo
from gpuclass.rehearsal import Visitor
from gpuclass.roster import Role
from tests.classroom.conftest import OpenClass


async def test_a_right_and_a_wrong_student_get_their_scores_and_feedback(classroom: OpenClass) -> None:
    def account(login: str) -> demo.Account:
        return demo.Account(login, login, Role.STUDENT, classroom.passwords[login])

    said: list[str] = []
    cast = demo.Cast(account("teacher"), account("s001"), account("s002"))
    references = demo.references(classroom.settings)
    outcome = await demo.day(classroom.settings, cast, references, said.append)
    assert outcome.as_expected, "\n".join([*said, json.dumps(str(outcome))])
    assert any("teacher sees in Formgrader: s001" in line for line in said)


async def test_formgraders_buttons_collect_grade_and_give_feedback(classroom: OpenClass) -> None:
    name = "00-warm-up"
    async with classroom.visitor("teacher") as teacher, classroom.visitor("s001") as student:
        for visitor in (teacher, student):
            await visitor.log_in()
            await visitor.start_server()
        listed = {found["name"]: found["status"] for found in await teacher.formgrader("GET", "assignments")}
        if listed[name] != "released":
            await teacher.formgrader("POST", f"assignment/{name}/assign")
            await teacher.formgrader("POST", f"assignment/{name}/release")
        await student.assignment("fetch", name, classroom.settings.course)
        await student.assignment("submit", name, classroom.settings.course)
        await teacher.formgrader("POST", f"assignment/{name}/collect")
        await teacher.formgrader("POST", f"submission/{name}/s001/autograde")
        await until_graded(teacher, name, "s001")
        await teacher.formgrader("POST", f"assignment/{name}/generate_feedback")
        await teacher.formgrader("POST", f"assignment/{name}/release_feedback")


async def until_graded(teacher: Visitor, assignment: str, login: str) -> None:
    async with asyncio.timeout(120):
        while True:
            found = await teacher.formgrader("GET", f"submission/{assignment}/{login}")
            if found["autograded"]:
                assert found["max_score"] == 1
                return
            await asyncio.sleep(0.5)
