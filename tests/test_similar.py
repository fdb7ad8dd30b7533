"""``gpuclass similar``: who shares more than the real exercises explain, in invented submissions."""

from __future__ import annotations

import json
import re
import resource
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode
from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions, ComputeChecksums, LockCells
from typer.testing import CliRunner, Result

from gpuclass import cli
from gpuclass.accounts import Accounts
from gpuclass.curriculum.answers import answered, answers, solutions
from gpuclass.curriculum.building import EXERCISES, lecture_files, read_source, sources
from gpuclass.exchange.store.courses import Courses
from gpuclass.exchange.store.store import Store
from gpuclass.roster import Person, Role, Roster
from gpuclass.settings import Settings
from gpuclass.similar import reading
from gpuclass.similar.code import form, lines
from gpuclass.similar.pairs import Comparison, Own, Work, compare
from tests.conftest import MakeSettings

PIXELS = "01-pixels-to-tensors"

KIM = {
    "normalise": '''def normalise(images):
    """uint8 그림 묶음 (N, 세로, 가로)를 0과 1 사이의 float32 묶음 (N, 1, 세로, 가로)로 바꿔요."""
    count, height, width = images.shape
    result = torch.zeros(count, 1, height, width)
    for index in range(count):
        picture = images[index].float()
        picture = picture / 255
        result[index, 0] = picture
    return result
''',
    "one-hot": '''def one_hot(labels, classes):
    """이름표 (N,)를 원-핫 (N, classes)로 바꿔요."""
    rows = []
    for label in labels.tolist():
        row = [0.0] * classes
        row[label] = 1.0
        rows.append(row)
    return torch.tensor(rows).reshape(len(rows), classes)
''',
}
PARK = {
    "normalise": """def normalise(images):
    # 한 장씩 말고 한꺼번에
    scaled = images.to(torch.float32).div(255.0)
    shape = list(scaled.size())
    shape.insert(1, 1)
    return scaled.view(*shape)
""",
    "one-hot": """def one_hot(labels, classes):
    table = torch.eye(classes, dtype=torch.float32)
    picked = torch.index_select(table, 0, labels.long())
    if picked.numel() == 0:
        return torch.empty(0, classes)
    return picked
""",
}


def renamed(cells: dict[str, str]) -> dict[str, str]:
    """The same with other names, comments, texts and layout."""
    changes = {"count": "장수", "height": "h", "width": "w", "result": "out", "index": "i", "picture": "그림"}
    changes |= {"rows": "표", "label": "번호", "row": "줄"}
    made = {}
    for name, text in cells.items():
        for old, new in changes.items():
            text = re.sub(rf"\b{old}\b", new, text)
        made[name] = text.replace(" = ", "=").replace("    ", "  ").replace("바꿔요", "돌려줘요") + "# 내가 했음\n"
    return made


def reordered(cells: dict[str, str]) -> dict[str, str]:
    """Both functions in the other's cell."""
    return {"normalise": cells["one-hot"], "one-hot": cells["normalise"]}


@pytest.fixture(scope="module")
def releases() -> dict[str, tuple[NotebookNode, NotebookNode]]:
    """The instructor's and the students' version of each exercise."""
    made = {}
    for name in (PIXELS, "00-warm-up"):
        source = read_source(sources(EXERCISES / name)[0])
        blank: NotebookNode = nbformat.from_dict(source)
        resources: dict[str, Any] = {}
        for step in (LockCells, ClearSolutions, ComputeChecksums, ClearHiddenTests):
            blank, resources = step().preprocess(blank, resources)
        made[name] = (source, blank)
    return made


PEOPLE = [
    Person("kim", "김하늘", Role.STUDENT, "1조"),
    Person("lee", "<b>이바다</b>", Role.STUDENT, "1조"),
    *(Person(login, f"학생 {login}", Role.STUDENT) for login in ("park", "choi", "jung", "han")),
]
Similar = Callable[..., Result]
Submit = Callable[..., None]


@pytest.fixture
def class_(make_settings: MakeSettings, releases: dict[str, tuple[NotebookNode, NotebookNode]]) -> Settings:
    """Both exercises are released; nobody has submitted anything."""
    made = make_settings()
    Accounts(made.accounts_path).apply(Roster(tuple(PEOPLE)), {})
    with Store(made.exchange_folder) as store:
        Courses(store, "camp", lambda: Roster(()))
        for name, (_, blank) in releases.items():
            store.release("camp", name, {f"{stem(name)}.ipynb": nbformat.writes(blank).encode()}, by="t")
    return made


def stem(name: str) -> str:
    return sources(EXERCISES / name)[0].stem


@pytest.fixture
def submit(class_: Settings, releases: dict[str, tuple[NotebookNode, NotebookNode]]) -> Submit:
    """Submit these answers, or this file."""

    def send(student: str, work: dict[str, str] | bytes, name: str = PIXELS) -> None:
        data = work if isinstance(work, bytes) else nbformat.writes(answered(releases[name][1], work)).encode()
        with Store(class_.exchange_folder) as store:
            store.submit("camp", name, student, {f"{stem(name)}.ipynb": data})

    return send


@pytest.fixture
def similar(class_: Settings) -> Similar:
    def run(name: str = PIXELS, *arguments: str) -> Result:
        environment = {"GPUCLASS_CONFIG": str(class_.path), "COLUMNS": "200"}
        result = CliRunner().invoke(cli.app, ["similar", name, *arguments], env=environment)
        assert result.exit_code == 0, result.output
        return result

    return run


def found(result: Result) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(result.stdout)
    return made


def named(result: Result) -> list[tuple[str, str]]:
    return [(pair["a"], pair["b"]) for pair in found(result)["pairs"]]


@pytest.mark.parametrize("copy", [dict, renamed, reordered], ids=["identical", "renamed", "reordered"])
def test_a_copy_is_listed_however_it_is_dressed(
    copy: Callable[[dict[str, str]], dict[str, str]], submit: Submit, similar: Similar
) -> None:
    submit("kim", KIM)
    submit("han", copy(KIM))
    submit("park", PARK)
    (pair,) = found(similar(PIXELS, "--json"))["pairs"]
    assert (pair["a"], pair["b"], pair["same_team"]) == ("han", "kim", False)
    assert min(pair["share_a"], pair["share_b"]) > 0.85
    assert pair["passages"][0]["a"]["from"]["cell"].startswith("exercise-01/")


def test_solutions_that_two_found_themselves_are_not_listed(submit: Submit, similar: Similar) -> None:
    submit("kim", KIM)
    submit("park", PARK)
    for login, variant in zip(("choi", "jung"), answers(EXERCISES / PIXELS)[-2:], strict=True):
        assert variant.points is None, "right answers of the exercise's own"
        submit(login, dict(variant.cells))
    result = found(similar(PIXELS, "--json", "--threshold", "0.3"))
    assert result["compared"] == 4
    assert result["pairs"] == []


def test_what_was_released_says_nothing(
    submit: Submit, similar: Similar, releases: dict[str, tuple[NotebookNode, NotebookNode]]
) -> None:
    blank = solutions(releases[PIXELS][1])
    tests = "\n".join(cell.source for cell in releases[PIXELS][1].cells if cell.cell_type == "code")
    submit("kim", blank)
    submit("park", {**blank, "normalise": tests})
    submit("han", {**blank, "normalise": tests})
    result = found(similar(PIXELS, "--json"))
    assert (result["pairs"], result["compared"]) == ([], 0)
    assert result["too_short"] == ["han", "kim", "park"]


def test_lines_of_an_earlier_version_say_nothing_either(
    class_: Settings, submit: Submit, similar: Similar, releases: dict[str, tuple[NotebookNode, NotebookNode]]
) -> None:
    with Store(class_.exchange_folder) as store:
        for content in (answered(releases[PIXELS][1], KIM), releases[PIXELS][1]):
            data = {f"{stem(PIXELS)}.ipynb": nbformat.writes(content).encode()}
            store.release("camp", PIXELS, data, by="t", again=True)
    submit("kim", KIM)
    submit("han", KIM)
    assert found(similar(PIXELS, "--json"))["too_short"] == ["han", "kim"]


def test_what_a_lecture_showed_says_nothing(class_: Settings, submit: Submit, similar: Similar) -> None:
    shown = "\n".join(
        cell.source
        for path, data in lecture_files((PIXELS,)).items()
        if path.endswith(".ipynb")
        for cell in nbformat.reads(data.decode(), 4).cells
        if cell.cell_type == "code"
    )
    assert len(shown) > 500, "the lecture has code"
    for login in ("kim", "han"):
        submit(login, {"normalise": shown, "one-hot": "pass"})
    assert found(similar(PIXELS, "--json"))["too_short"] == ["han", "kim"]


def test_short_answers_are_too_short_to_tell(
    submit: Submit, similar: Similar, releases: dict[str, tuple[NotebookNode, NotebookNode]]
) -> None:
    for login in ("kim", "park"):
        submit(login, solutions(releases["00-warm-up"][0]), "00-warm-up")
        submit(login, solutions(releases[PIXELS][0]))
    for name in ("00-warm-up", PIXELS):
        result = similar(name)
        assert "0 students compared, 0 pairs stand out" in result.stdout
        assert "Too short to tell (fewer than 50 tokens of their own): 2 students, kim, park" in result.stdout


def test_the_last_submission_counts(submit: Submit, similar: Similar) -> None:
    submit("kim", KIM)
    submit("han", KIM)
    submit("han", PARK)
    assert named(similar(PIXELS, "--json")) == []


def test_a_team_is_marked_and_the_words_are_careful(submit: Submit, similar: Similar) -> None:
    submit("kim", KIM)
    submit("lee", renamed(KIM))
    result = similar()
    assert "same team" in result.stdout
    assert "Similar does not mean copied." in result.stdout
    assert "김하늘" in result.stdout


def test_what_most_of_the_class_wrote_is_no_sign(submit: Submit, similar: Similar) -> None:
    for person in PEOPLE:
        submit(person.login, KIM)
    assert named(similar(PIXELS, "--json")) == [], "six of six: the exercise led there, or the board did"


def test_a_higher_threshold_lists_less(submit: Submit, similar: Similar) -> None:
    submit("kim", KIM)
    submit("han", {**PARK, "one-hot": KIM["one-hot"]})
    assert named(similar(PIXELS, "--json", "--threshold", "0.4")) == [("han", "kim")]
    assert named(similar(PIXELS, "--json", "--threshold", "0.9")) == []


# The page


class Tags(HTMLParser):
    """Every tag and attribute of a page, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = """
text = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>"  # <script src="https://evil.example"></script>
hidden = "‮ gnp.exe​"
"""


def test_the_page_shows_passages_side_by_side_and_runs_nothing(
    submit: Submit, similar: Similar, tmp_path: Path
) -> None:
    submit("kim", {**KIM, "normalise": KIM["normalise"] + HOSTILE})
    submit("lee", {**KIM, "normalise": KIM["normalise"] + HOSTILE})
    similar(PIXELS, "--html", str(tmp_path / "page.html"))
    written = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Tags()
    page.feed(written)
    assert "default-src 'none'" in written
    ours = ["html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "h4", "p", "table", "tr", "th", "td"]
    assert page.tags <= {*ours, "a", "div", "pre", "mark", "sup"}, "nothing of the students'"
    assert page.attributes <= {"lang", "charset", "http-equiv", "content", "class", "href", "id", "colspan"}
    assert "<script>alert(1)</script>" in page.text, "as text"
    assert "<b>이바다</b>" in page.text
    assert "‮" not in page.text
    assert "비슷하다는 것은 베꼈다는 뜻이 아니에요" in page.text
    assert "같은 팀" in page.text
    marked = re.findall(r"<mark[^>]*>(?:<sup>\d+</sup>)?(.*?)</mark>", written, re.DOTALL)
    assert len(marked) == 4, "two cells of two students"
    assert "picture = picture / 255\n        result[index, 0] = picture" in marked[0]
    assert (tmp_path / "page.html").stat().st_mode & 0o777 == 0o600


def test_the_page_shows_all_that_was_written(submit: Submit, similar: Similar, tmp_path: Path) -> None:
    submit("kim", KIM)
    submit("han", reordered(renamed(KIM)))
    similar(PIXELS, "--html", str(tmp_path / "page.html"))
    page = Tags()
    page.feed((tmp_path / "page.html").read_text(encoding="utf-8"))
    text = re.sub(r"\d", "", page.text)
    for cells in (KIM, renamed(KIM)):
        for source in cells.values():
            assert re.sub(r"\d", "", source).rstrip() in text


# Whatever is sent


def long_line() -> bytes:
    cell = {"cell_type": "code", "metadata": {}, "source": "x" * (30 * 2**20)}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}).encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00\xff" * 100, "깨졌어요"),
        (b"", "깨졌어요"),
        (b"[" * 100_000, "겹친"),
        (long_line(), "larger than 25M"),
    ],
    ids=["binary", "empty", "deep", "30 MB"],
)
def test_what_cannot_be_read_is_named_and_stops_nobody(
    data: bytes, reason: str, submit: Submit, similar: Similar
) -> None:
    submit("kim", KIM)
    submit("han", KIM)
    submit("jung", data)
    result = found(similar(PIXELS, "--json"))
    assert named(similar(PIXELS, "--json")) == [("han", "kim")]
    (unreadable,) = result["unreadable"]
    assert unreadable["login"] == "jung"
    assert reason in unreadable["reason"]


def test_text_that_is_no_python_and_too_much_of_it_is_compared_as_far_as_it_goes(
    submit: Submit, similar: Similar
) -> None:
    junk = "def (((\n%%bash\n'''" + "가 = 1 +" * 100_000
    submit("kim", {**KIM, "normalise": junk})
    submit("han", {**KIM, "normalise": junk})
    submit("choi", {**KIM, "normalise": "(" * 500_000})
    result = found(similar(PIXELS, "--json"))
    assert ("han", "kim") in [(pair["a"], pair["b"]) for pair in result["pairs"]]
    assert result["unreadable"] == []


def test_no_code_of_a_student_is_run(submit: Submit, similar: Similar, tmp_path: Path) -> None:
    submit("kim", {**KIM, "normalise": f"open({str(tmp_path / 'ran')!r}, 'w')\n" + KIM["normalise"]})
    similar()
    assert not (tmp_path / "ran").exists()


def test_a_submission_that_takes_too_much_is_given_up(
    submit: Submit, similar: Similar, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = reading.take_apart

    def greedy(assignment: Any, notebooks: Any, language: Any) -> dict[str, Any]:
        text = next(iter(notebooks.values())).decode()
        if "# memory" in text:
            bytearray(2**40)
        while "# time" in text:
            pass
        if "# file" in text:
            Path("/tmp/gpuclass-similar-writes").write_text("x")
        return apart(assignment, notebooks, language)

    monkeypatch.setattr(reading, "take_apart", greedy)
    monkeypatch.setattr(reading, "SECONDS", 1)
    before = resource.getrlimit(resource.RLIMIT_AS)
    submit("kim", KIM)
    for login, word in (("park", "memory"), ("choi", "time"), ("jung", "file")):
        submit(login, {**KIM, "normalise": f"# {word}\n"})
    result = found(similar(PIXELS, "--json"))
    assert [each["login"] for each in result["unreadable"]] == ["choi", "jung", "park"]
    assert result["compared"] == 1
    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_an_assignment_that_is_not_there_is_said(class_: Settings) -> None:
    result = CliRunner().invoke(cli.app, ["similar", "x"], env={"GPUCLASS_CONFIG": str(class_.path)})
    assert result.exit_code == 2
    assert f"Released: 00-warm-up, {PIXELS}" in result.stderr


# Tokens


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("total = a + b  # sum", "합계=x+y"),
        ("print('a', \"b\")", 'print("""long\ntext""", f"x")'),
        ("def f(x): return x.sum()", "def g(y):\n\n    return y.sum()"),
        ('class A:\n    """doc"""\n    x = 1', "class B:\n  y=1"),
        ("import os\nfrom torch import (nn,\n  optim)\nx = 1", "y = 1"),
    ],
)
def test_names_texts_comments_layout_and_imports_make_no_difference(one: str, other: str) -> None:
    texts = [[token.text for line in lines(source) for token in line] for source in (one, other)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(("one", "other"), [("a + b", "a - b"), ("x.sum()", "x.mean()"), ("f(1)", "f(2)")])
def test_operators_methods_and_numbers_do(one: str, other: str) -> None:
    assert [form(line) for line in lines(one)] != [form(line) for line in lines(other)]


@given(st.text())
def test_a_token_is_where_it_says(source: str) -> None:
    tokens = [token for line in lines(source) for token in line]
    assert all(0 <= token.start < token.end <= len(source) for token in tokens)
    assert [token.start for token in tokens] == sorted(token.start for token in tokens)


# Comparing

words = st.lists(st.sampled_from(["n", "(", ")", "=", "+", "if", "1"]), max_size=120)


@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=2, max_size=5))
def test_shares_are_parts_and_passages_are_the_same_text_in_both(texts: list[list[str]]) -> None:
    works = [
        Work(f"s{number}", "", {"c": " ".join(text)}, [Own(word, 0, at, at + 1) for at, word in enumerate(text)])
        for number, text in enumerate(texts)
    ]
    made: Comparison = compare(works, 0.1)
    assert made == compare(works[::-1], 0.1), "the order of submissions makes no difference"
    for pair in made.pairs:
        assert 0 < pair.share <= 1
        for passage in pair.passages:
            parts = ((pair.a, passage.a), (pair.b, passage.b))
            shared = [[token.text for token in work.own[slice(*part)]] for work, part in parts]
            assert shared[0] == shared[1]
            assert len(shared[0]) >= 16
