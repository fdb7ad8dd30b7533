"""The same requests to a real ngshare and to ours: statuses, words and fields are compared, one by one.

What ngshare documents (``docs/api`` of its repository) is asked for at every endpoint, with every error listed there.
Where ours answers otherwise, ``DEVIATIONS`` says how and why; nothing else may differ, and nothing listed may agree.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute

from benchmarks.submitting import ngshare
from gpuclass.exchange.service.ngshare import router
from tests.exchange.conftest import free_port, running, user

pytestmark = pytest.mark.slow

COURSE = "Algebra 1"
NAMES = {"first_name": "Ada", "last_name": "King", "email": "ada@example.org"}
BLANK = {"first_name": "", "last_name": "", "email": ""}
FILES = json.dumps(
    [
        {"path": "a.ipynb", "content": "amtsCg=="},
        {"path": "notes/b.txt", "content": base64.encodebytes(b"b" * 99).decode()},
    ]
)
FEWER = json.dumps([{"path": "a.ipynb", "content": "bmtsCg=="}])
PAGE = json.dumps([{"path": "a.html", "content": "PGI+"}])
OTHER_PAGE = json.dumps([{"path": "a.html", "content": "PGk+"}])
WITHOUT_LOGIN = ("assignment", "submissions", "submission", "feedback")  # whose GET in ngshare asks for no login
SUBMITTED = ("bob", "bob", "ada")
PEOPLE = ("operator", "ada", "carl", "bob", "dora", "eve")  # an admin, two who teach, two who learn, an outsider


@dataclass(frozen=True)
class Step:
    """One request. ``{t:NAME}`` in a value is the timestamp that the step NAME was answered with."""

    name: str
    who: str | None
    method: str
    path: str
    data: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)


def get(name: str, who: str | None, path: str, **params: str) -> Step:
    return Step(name, who, "GET", path, params=params)


def post(name: str, who: str | None, path: str, **data: str) -> Step:
    return Step(name, who, "POST", path, data=data)


def delete(name: str, who: str | None, path: str) -> Step:
    return Step(name, who, "DELETE", path)


def listed(*students: Mapping[str, Any]) -> str:
    return json.dumps(students)


C, PS1 = f"/{COURSE}", f"/{COURSE}/ps1"
STEPS = [
    # Courses
    get("courses without a token", None, "courses"),
    get("courses of an admin, first", "operator", "courses"),
    post("make a course without a token", None, f"course{C}"),
    post("make a course as anybody", "ada", f"course{C}"),
    post("make a course with instructors that are no JSON", "operator", f"course{C}", instructors='"ada"]'),
    post("make a course", "operator", f"course{C}", instructors='["ada"]'),
    post("make a course again", "operator", f"course{C}"),
    post("make a course without instructors", "operator", "course/Empty"),
    get("courses of an admin", "operator", "courses"),
    get("courses of an instructor", "ada", "courses"),
    get("courses of an outsider", "eve", "courses"),
    # Instructors
    post("instructor without a token", None, f"instructor{C}/carl", **NAMES),
    post("instructor in no course", "operator", "instructor/None/carl", **NAMES),
    post("instructor by an outsider", "eve", f"instructor{C}/carl", **NAMES),
    post("instructor by an instructor", "ada", f"instructor{C}/carl", **NAMES),
    post("instructor without a first name", "operator", f"instructor{C}/carl"),
    post("instructor without a last name", "operator", f"instructor{C}/carl", first_name="C"),
    post("instructor without an address", "operator", f"instructor{C}/carl", first_name="C", last_name="G"),
    post("add an instructor", "operator", f"instructor{C}/carl", first_name="C", last_name="G", email="c@example.org"),
    post("an instructor's own names", "ada", f"instructor{C}/ada", **NAMES),
    post("another instructor's names", "ada", f"instructor{C}/carl", **NAMES),
    get("one instructor", "carl", f"instructor{C}/ada"),
    get("one instructor, asked by an outsider", "eve", f"instructor{C}/ada"),
    get("one instructor, without a token", None, f"instructor{C}/ada"),
    get("one instructor in no course", "carl", "instructor/None/ada"),
    get("nobody as instructor", "carl", f"instructor{C}/bob"),
    get("all instructors", "carl", f"instructors{C}"),
    get("all instructors without a token", None, f"instructors{C}"),
    get("all instructors, asked by an outsider", "eve", f"instructors{C}"),
    get("all instructors in no course", "carl", "instructors/None"),
    delete("remove an instructor as one", "ada", f"instructor{C}/carl"),
    delete("remove an instructor without a token", None, f"instructor{C}/carl"),
    delete("remove an instructor in no course", "operator", "instructor/None/carl"),
    delete("remove nobody as instructor", "operator", f"instructor{C}/bob"),
    delete("remove an instructor", "operator", f"instructor{C}/carl"),
    get("all instructors but the removed", "ada", f"instructors{C}"),
    # Students
    post("student without a token", None, f"student{C}/bob", **NAMES),
    post("student in no course", "ada", "student/None/bob", **NAMES),
    post("student by an outsider", "eve", f"student{C}/bob", **NAMES),
    post("student without a first name", "ada", f"student{C}/bob"),
    post("student without a last name", "ada", f"student{C}/bob", first_name="B"),
    post("student without an address", "ada", f"student{C}/bob", first_name="B", last_name="L"),
    post("an instructor as student", "ada", f"student{C}/ada", **NAMES),
    post("add a student", "ada", f"student{C}/bob", first_name="B", last_name="L", email="b@example.org"),
    get("one student", "ada", f"student{C}/bob"),
    get("oneself as student", "bob", f"student{C}/bob"),
    get("another student", "bob", f"student{C}/dora"),
    get("one student without a token", None, f"student{C}/bob"),
    get("one student in no course", "ada", "student/None/bob"),
    get("nobody as student", "ada", f"student{C}/eve"),
    post("students without a token", None, f"students{C}", students="[]"),
    post("students in no course", "ada", "students/None", students="[]"),
    post("students by a student", "bob", f"students{C}", students="[]"),
    post("no students at all", "ada", f"students{C}"),
    post("an empty list of students", "ada", f"students{C}", students="[]"),
    post("students that are no JSON", "ada", f"students{C}", students='"'),
    post("students that are no list", "ada", f"students{C}", students="12"),
    post("students that are numbers", "ada", f"students{C}", students="[1]"),
    post("students without a field", "ada", f"students{C}", students=listed({"username": "dora"})),
    post(
        "add students",
        "ada",
        f"students{C}",
        students=listed({"username": "dora", **BLANK}, {"username": "ada", **BLANK}, {"username": "carl", **NAMES}),
    ),
    get("all students", "ada", f"students{C}"),
    get("all students, asked by one", "bob", f"students{C}"),
    get("all students without a token", None, f"students{C}"),
    get("all students in no course", "ada", "students/None"),
    delete("remove a student as one", "bob", f"student{C}/dora"),
    delete("remove a student without a token", None, f"student{C}/dora"),
    delete("remove a student in no course", "ada", "student/None/dora"),
    delete("remove nobody as student", "ada", f"student{C}/eve"),
    delete("remove a student", "ada", f"student{C}/carl"),
    get("courses of a student", "bob", "courses"),
    # Assignments
    get("no assignments yet", "bob", f"assignments{C}"),
    get("assignments without a token", None, f"assignments{C}"),
    get("assignments, asked by an outsider", "eve", f"assignments{C}"),
    get("assignments of no course", "ada", "assignments/None"),
    post("release without a token", None, f"assignment{PS1}", files=FILES),
    post("release in no course", "ada", "assignment/None/ps1", files=FILES),
    post("release as a student", "bob", f"assignment{PS1}", files=FILES),
    post("release without files", "ada", f"assignment{PS1}"),
    post("release what is no JSON", "ada", f"assignment{PS1}", files="files"),
    post("release what is no base64", "ada", f"assignment{PS1}", files='[{"path": "a", "content": "amtsCg"}]'),
    post("release an absolute path", "ada", f"assignment{PS1}", files='[{"path": "/a", "content": ""}]'),
    post("release an empty path", "ada", f"assignment{PS1}", files='[{"path": "", "content": ""}]'),
    post("release a path upwards", "ada", f"assignment{PS1}", files='[{"path": "../a", "content": ""}]'),
    post("release a path with a dot", "ada", f"assignment{PS1}", files='[{"path": "a/./b", "content": ""}]'),
    post("release", "ada", f"assignment{PS1}", files=FILES),
    post("release again", "ada", f"assignment{PS1}", files=FILES),
    post("release another", "operator", f"assignment{C}/ps2", files=FEWER),
    get("assignments", "bob", f"assignments{C}"),
    get("fetch", "bob", f"assignment{PS1}"),
    get("fetch the list", "bob", f"assignment{PS1}", list_only="true"),
    get("fetch with a false list_only", "bob", f"assignment{PS1}", list_only="false"),
    get("fetch without a token", None, f"assignment{PS1}"),
    get("fetch as an outsider", "eve", f"assignment{PS1}"),
    get("fetch of no course", "bob", "assignment/None/ps1"),
    get("fetch no assignment", "bob", f"assignment{C}/None"),
    # Submissions
    get("no submissions yet", "ada", f"submissions{PS1}"),
    get("a student's submissions before the first", "ada", f"submissions{PS1}/bob"),
    get("a submission before the first", "ada", f"submission{PS1}/bob"),
    post("submit without a token", None, f"submission{PS1}", files=FILES),
    post("submit in no course", "bob", "submission/None/ps1", files=FILES),
    post("submit to no assignment", "bob", f"submission{C}/None", files=FILES),
    post("submit as an outsider", "eve", f"submission{PS1}", files=FILES),
    post("submit without files", "bob", f"submission{PS1}"),
    post("submit what is no JSON", "bob", f"submission{PS1}", files="files"),
    post("submit what is no base64", "bob", f"submission{PS1}", files='[{"path": "a", "content": "amtsCg"}]'),
    post("submit a path upwards", "bob", f"submission{PS1}", files='[{"path": "../a", "content": ""}]'),
    post("submit", "bob", f"submission{PS1}", files=FILES),
    post("submit again", "bob", f"submission{PS1}", files=FEWER),
    post("submit as an instructor", "ada", f"submission{PS1}", files=FEWER),
    get("submissions", "ada", f"submissions{PS1}"),
    get("submissions without a token", None, f"submissions{PS1}"),
    get("submissions, asked by a student", "bob", f"submissions{PS1}"),
    get("submissions in no course", "ada", "submissions/None/ps1"),
    get("submissions to no assignment", "ada", f"submissions{C}/None"),
    get("a student's submissions", "ada", f"submissions{PS1}/bob"),
    get("one's own submissions", "bob", f"submissions{PS1}/bob"),
    get("an instructor's submissions", "ada", f"submissions{PS1}/ada"),
    get("another's submissions", "dora", f"submissions{PS1}/bob"),
    get("a student's submissions without a token", None, f"submissions{PS1}/bob"),
    get("a student's submissions in no course", "ada", "submissions/None/ps1/bob"),
    get("a student's submissions to no assignment", "ada", f"submissions{C}/None/bob"),
    get("nobody's submissions", "ada", f"submissions{PS1}/eve"),
    get("the latest submission", "ada", f"submission{PS1}/bob"),
    get("an earlier submission", "ada", f"submission{PS1}/bob", timestamp="{t:submit}"),
    get("an earlier submission's list", "ada", f"submission{PS1}/bob", timestamp="{t:submit}", list_only="true"),
    get("the latest submission by an empty timestamp", "ada", f"submission{PS1}/bob", timestamp=""),
    get("a submission of another time", "ada", f"submission{PS1}/bob", timestamp="2020-01-01 00:00:00.000000 UTC"),
    get("a submission, asked by its student", "bob", f"submission{PS1}/bob"),
    get("a submission without a token", None, f"submission{PS1}/bob"),
    get("a submission in no course", "ada", "submission/None/ps1/bob"),
    get("a submission to no assignment", "ada", f"submission{C}/None/bob"),
    get("nobody's submission", "ada", f"submission{PS1}/eve"),
    get("a student's who has none", "ada", f"submission{PS1}/dora"),
    # Feedback
    get("feedback before there is any", "bob", f"feedback{PS1}/bob", timestamp="{t:submit}"),
    post("feedback without a token", None, f"feedback{PS1}/bob", timestamp="{t:submit}", files=PAGE),
    post("feedback in no course", "ada", "feedback/None/ps1/bob", timestamp="{t:submit}", files=PAGE),
    post("feedback to no assignment", "ada", f"feedback{C}/None/bob", timestamp="{t:submit}", files=PAGE),
    post("feedback to nobody", "ada", f"feedback{PS1}/eve", timestamp="{t:submit}", files=PAGE),
    post("feedback by a student", "bob", f"feedback{PS1}/bob", timestamp="{t:submit}", files=PAGE),
    post("feedback without a timestamp", "ada", f"feedback{PS1}/bob", files=PAGE),
    post("feedback with no timestamp at all", "ada", f"feedback{PS1}/bob", timestamp="a", files=PAGE),
    post(
        "feedback on another time", "ada", f"feedback{PS1}/bob", timestamp="2020-01-01 00:00:00.000000 UTC", files=PAGE
    ),
    post("feedback without files", "ada", f"feedback{PS1}/bob", timestamp="{t:submit}"),
    post("feedback that is no JSON", "ada", f"feedback{PS1}/bob", timestamp="{t:submit}", files="files"),
    post(
        "feedback that is no base64",
        "ada",
        f"feedback{PS1}/bob",
        timestamp="{t:submit}",
        files='[{"path": "a.html", "content": "amtsCg"}]',
    ),
    post(
        "feedback with a path upwards",
        "ada",
        f"feedback{PS1}/bob",
        timestamp="{t:submit}",
        files='[{"path": "../a.html", "content": ""}]',
    ),
    post("give feedback", "ada", f"feedback{PS1}/bob", timestamp="{t:submit}", files=PAGE),
    get("own feedback", "bob", f"feedback{PS1}/bob", timestamp="{t:submit}"),
    post("give other feedback", "ada", f"feedback{PS1}/bob", timestamp="{t:submit}", files=OTHER_PAGE),
    get("own feedback, the newer", "bob", f"feedback{PS1}/bob", timestamp="{t:submit}"),
    get("own feedback's list", "bob", f"feedback{PS1}/bob", timestamp="{t:submit}", list_only="true"),
    get("a student's feedback", "ada", f"feedback{PS1}/bob", timestamp="{t:submit}"),
    get("another's feedback", "dora", f"feedback{PS1}/bob", timestamp="{t:submit}"),
    get("feedback on the later submission", "bob", f"feedback{PS1}/bob", timestamp="{t:submit again}"),
    get("own feedback without a token", None, f"feedback{PS1}/bob", timestamp="{t:submit}"),
    get("own feedback without a timestamp", "bob", f"feedback{PS1}/bob"),
    get("own feedback with no timestamp at all", "bob", f"feedback{PS1}/bob", timestamp="a"),
    get("own feedback in no course", "bob", "feedback/None/ps1/bob", timestamp="{t:submit}"),
    get("own feedback to no assignment", "bob", f"feedback{C}/None/bob", timestamp="{t:submit}"),
    get("feedback of nobody", "ada", f"feedback{PS1}/eve", timestamp="{t:submit}"),
    get("own feedback of another time", "bob", f"feedback{PS1}/bob", timestamp="2020-01-01 00:00:00.000000 UTC"),
    # Removal
    delete("remove an assignment without a token", None, f"assignment{PS1}"),
    delete("remove an assignment as a student", "bob", f"assignment{PS1}"),
    delete("remove an assignment in no course", "ada", "assignment/None/ps1"),
    delete("remove no assignment", "ada", f"assignment{C}/None"),
    delete("remove an assignment", "ada", f"assignment{PS1}"),
    get("fetch what is removed", "bob", f"assignment{PS1}"),
    get("submissions to what is removed", "ada", f"submissions{PS1}"),
    get("assignments but the removed", "bob", f"assignments{C}"),
    post("release what was removed", "ada", f"assignment{PS1}", files=FILES),
    get("submissions from before the removal", "ada", f"submissions{PS1}"),
    delete("remove a student who submitted", "ada", f"student{C}/bob"),
    get("courses of somebody removed", "bob", "courses"),
    delete("remove a course without a token", None, f"course{C}"),
    delete("remove a course as an instructor", "ada", f"course{C}"),
    delete("remove no course", "operator", "course/None"),
    delete("remove a course", "operator", f"course{C}"),
    get("assignments of a removed course", "ada", f"assignments{C}"),
    get("courses after a removal", "operator", "courses"),
    # What is no endpoint
    Step("another method", "ada", "PATCH", "courses"),
]

NO_LOGIN = "ngshare documents 302 and says 403, or 500 where its handler forgot to ask who it is; ours says 302"
DOCUMENTED = "ngshare documents it as ours answers; its code has another status or other words"
DENIED = (403, {"success": False, "message": "Permission denied"})
DEVIATIONS: dict[str, tuple[str, tuple[int, Any]]] = {
    **{
        step.name: (NO_LOGIN, (302, None))
        for step in STEPS
        if step.who is None and (step.method != "GET" or step.path.split("/")[0] in WITHOUT_LOGIN)
    },
    "instructor by an instructor": (DOCUMENTED, DENIED),
    "another instructor's names": (DOCUMENTED, DENIED),
    "instructor without an address": (DOCUMENTED, (400, {"success": False, "message": "Please supply email name"})),
    "submissions from before the removal": (
        "DELETE hides and never erases: what was submitted is there when the assignment is released again",
        (200, {"success": True, "submissions": [{"student_id": who, "timestamp": "a moment"} for who in SUBMITTED]}),
    ),
    "another method": ("an error is JSON", (405, {"success": False, "message": "Method Not Allowed"})),
}

TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6})( UTC)?")
RECEIPT = {"submission", "size", "sha256"}  # beside what ngshare gives for a submission


@dataclass(frozen=True)
class Answer:
    """What came: the status, and the JSON in a form that can be compared; None where it is none."""

    status: int
    content: Any
    text: str

    @property
    def comparable(self) -> tuple[int, Any]:
        return self.status, self.content


class Server:
    """One of the two; remembers the timestamps it gave."""

    def __init__(self, url: str) -> None:
        self._clients = {
            who: httpx.Client(
                base_url=url, timeout=60, headers={"Authorization": f"token token-of-{who}"} if who else {}
            )
            for who in (None, *PEOPLE)
        }
        self._times: dict[str, str] = {}

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def answer(self, step: Step) -> Answer:
        data, params = self._filled(step.data), self._filled(step.params)
        form = data if step.method == "POST" else None
        answer = self._clients[step.who].request(step.method, step.path, params=params, data=form)
        try:
            content = answer.json()
        except ValueError:
            return Answer(answer.status_code, None, answer.text)
        if "timestamp" in content:
            self._times[step.name] = content["timestamp"]
        return Answer(answer.status_code, plain(content), answer.text)

    def _filled(self, values: Mapping[str, str]) -> dict[str, str]:
        return {key: re.sub(r"\{t:(.*?)\}", lambda hit: self._times[hit[1]], value) for key, value in values.items()}


def plain(content: Any) -> Any:
    """JSON with moments as one word, base64 decoded, and people sorted: their order is nowhere said."""
    match content:
        case dict():
            return {
                key: base64.b64decode(value) if key == "content" else plain(value)
                for key, value in content.items()
                if key != "hint"
            }
        case [{"username": str(), "first_name": _}, *_]:
            return sorted(map(plain, content), key=lambda person: str(person["username"]))
        case list():
            return [plain(item) for item in content]
        case str() if TIME.fullmatch(content):
            return "a moment"
        case _:
            return content


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Answer, Answer]]]:
    """What both answered to each step, ngshare first."""
    with ExitStack() as stack:
        camp = stack.enter_context(running(tmp_path_factory.mktemp("camp"), per_minute=10_000))
        for who in PEOPLE:
            camp.hub.users[f"token-of-{who}"] = user(who)
        address = str(camp.settings.gateway)
        port, folder = free_port(address), tmp_path_factory.mktemp("ngshare")
        stack.enter_context(ngshare.serving(folder, camp.settings.hub_api, address, port, ["operator"]))
        theirs = Server(f"http://{address}:{port}{ngshare.PREFIX}")
        ours = Server(f"{camp.settings.exchange_url}/api")
        stack.callback(theirs.close)
        stack.callback(ours.close)
        theirs.answer(post("the class's own course", "operator", f"course/{camp.settings.course}"))
        yield {step.name: (theirs.answer(step), ours.answer(step)) for step in STEPS}


def shown(answer: Answer, step: Step) -> tuple[int, Any]:
    """What counts of an answer of ours: without what a receipt has beside; of a redirect only that it is one."""
    content = answer.content
    if step.path.startswith("submission/") and step.method == "POST" and answer.status == 200:
        assert content.keys() >= RECEIPT
        content = {key: value for key, value in content.items() if key not in RECEIPT}
    return (answer.status, None) if answer.status == 302 else (answer.status, content)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_ours_answers_as_ngshare_does(answers: dict[str, tuple[Answer, Answer]], step: Step) -> None:
    theirs, ours = answers[step.name]
    if step.name in DEVIATIONS:
        _, expected = DEVIATIONS[step.name]
        assert shown(ours, step) == expected
        assert shown(ours, step) != theirs.comparable, "no deviation any more"
    else:
        assert shown(ours, step) == ((302, None) if theirs.status == 302 else theirs.comparable), theirs.text


def test_every_endpoint_is_asked_with_and_without_a_login(answers: dict[str, tuple[Answer, Answer]]) -> None:
    asked: dict[tuple[str, str], set[int]] = {}
    for step in STEPS:
        kind, *names = step.path.split("/")
        asked.setdefault((step.method, f"{kind}/{len(names)}"), set()).add(answers[step.name][1].status)
    routes = [route for route in router.routes if isinstance(route, APIRoute)]
    assert len(routes) > 20
    for route in routes:
        _, _, kind, *names = route.path.split("/")
        for method in route.methods or ():
            assert {200, 302} <= asked.get((method, f"{kind}/{len(names)}"), set()), (method, route.path)


def test_times_are_as_ngshare_documents_them(answers: dict[str, tuple[Answer, Answer]]) -> None:
    theirs, ours = answers["submit"]
    assert [zone for _, zone in TIME.findall(ours.text)] == [" UTC"]
    assert [zone for _, zone in TIME.findall(theirs.text)] == [""], "ngshare says the zone by now: compare with it"
