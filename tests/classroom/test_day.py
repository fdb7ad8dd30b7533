"""The main job: release, fetch, solve, submit, grade, feedback, through a real class."""

import json

from gpuclass import demo
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
