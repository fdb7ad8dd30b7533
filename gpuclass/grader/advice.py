"""What a check found, in words for whoever writes the tests: which line, what happened, and how to write it instead."""

from __future__ import annotations

import re
from collections.abc import Iterator

from gpuclass.grader.findings import Finding, Report
from gpuclass.grader.words import Language

GUIDE = {"en": "docs/howto/write-an-exercise.md", "ko": "docs/howto/write-an-exercise.ko.md"}
NAMES_LIMIT = 5  # answers that are named with one finding

_SAYS: dict[str, tuple[str, str]] = {  # kind: (Korean, English)
    "differs": (
        "{where}: 노트북에서는 {together:g}점인데 채점할 때는 {apart:g}점이에요 (만점 {most:g}점, 답: {answers}).",
        "{where}: {together:g} points in the notebook, {apart:g} when it is graded (of {most:g}; answer: {answers}).",
    ),
    "solution": (
        "{where}: 선생님의 풀이가 {most:g}점 가운데 {apart:g}점만 받아요.",
        "{where}: the instructor's solution gets {apart:g} of {most:g} points.",
    ),
    "blank": (
        "{where}: 아무것도 풀지 않은 노트북이 {apart:g}점을 받아요.",
        "{where}: the untouched release gets {apart:g} points.",
    ),
    "variant": (
        "{where}: 맞는 답인 {answers}이(가) {most:g}점 가운데 {apart:g}점만 받아요.",
        "{where}: {answers}, a right answer, gets {apart:g} of {most:g} points.",
    ),
    "mutant": (
        "{notebook}: 틀린 답 {answers}은(는) {least:g}점에서 {limit:g}점 사이여야 하는데 {apart:g}점을 받아요.",
        "{notebook}: {answers}, a wrong answer, must get {least:g} to {limit:g} points and gets {apart:g}.",
    ),
    "chance": (
        "{where}: 같은 답의 점수가 돌릴 때마다 달라요 ({apart:g}점, {together:g}점). 검사에서 난수의 씨앗을 정하세요.",
        "{where}: the same answer got {apart:g} points, then {together:g}. Seed random numbers inside the test.",
    ),
    "credit": (
        "{where}: 부분 점수가 0과 {most:g} 사이의 수가 아니에요.",
        "{where}: its partial credit is not a number between 0 and {most:g}.",
    ),
    "stderr": (
        "{where}: 오류 출력(stderr)에 글이 나와요: {error}. 여기서는 괜찮지만, 원래 nbgrader는 0점으로 봐요.",
        "{where}: something is printed on stderr: {error}. It costs nothing here; stock nbgrader fails it.",
    ),
    "slow": (
        "{where}: 풀이를 검사하는 데 {apart:g}초가 걸려요 (제한 {most:g}초). 학생의 답은 더 느릴 수 있어요.",
        "{where}: testing the solution takes {apart:g} s (of {most:g}). Students' answers may well be slower.",
    ),
    "missing": (
        "source/ 폴더에 이 과제가 없어서 채점해 볼 수 없어요. 이대로 배포하면 자동 채점도 할 수 없어요.",
        "There is no source version of it in source/: it cannot be tried, nor will it be graded automatically.",
    ),
    "none": (
        "자동으로 채점하는 검사 셀이 없어요.",
        "There is no test cell that is graded automatically.",
    ),
}

_INSTEAD: tuple[tuple[str, str, str, str], ...] = (  # pattern of the error, of the test, Korean, English; first fitting
    (
        r"a value of type (?P<what>[^\s,]+) cannot be given",
        "",
        "{what} 값은 학생의 함수에 건넬 수 없어요. 숫자·글·목록·텐서·배열이나 함수, 또는 검사나 읽기 전용 셀에서 만든 "
        "클래스의 객체를 건네세요.",
        "A {what} cannot be given to a student's function. Give it plain data, tensors, arrays, functions, or an "
        "object of a class that the test or a read-only cell defines.",
    ),
    (
        "a module cannot be given",
        "",
        "모듈 대신 그 안의 함수를 건네세요: f(math.sqrt).",
        "Give it the function and not its module: f(math.sqrt).",
    ),
    (
        "plain data or a tensor belongs here",
        "",
        "학생의 객체를 그대로 비교하거나 계산하지 말고, 속성이나 메서드가 주는 값으로 검사하세요: point.x == 3, "
        "float(loss).",
        "Do not compare or compute with the student's object itself: look at an attribute or at what a method "
        "returns: point.x == 3, float(loss).",
    ),
    (
        r"nested more than|more than \d+|larger than",
        "",
        "한 번에 오가는 값이 너무 커요. 더 작은 입력으로 검사하세요.",
        "Too much at once: test with smaller inputs.",
    ),
    (
        "SyntaxError",
        r"(?m)^\s*[%!?]|\bawait\b",
        "검사 셀에는 %나 !로 시작하는 명령과 await를 쓸 수 없어요. 보통의 파이썬으로 쓰세요.",
        "No magics, shell commands or await in a test cell: plain Python.",
    ),
    (
        "",
        r"\btype\(.*\)\s*(is\b|==|in\b)",
        "type(x) is C 대신 isinstance(x, C)를 쓰세요.",
        "isinstance(x, C), and not type(x) is C.",
    ),
    (
        "",
        r"(?m)\bpatch\b|\bmonkeypatch\b|^\s*\w+(\.\w+)+ *= *\S",
        "검사에서 라이브러리를 바꿔치기해도 학생의 코드에는 닿지 않아요. 가짜 객체를 인수로 건네세요: "
        "benchmark(clock=FakeClock()).",
        "What a test patches does not reach the student's process. Pass a fake as an argument: "
        "benchmark(clock=FakeClock()).",
    ),
    (
        "",
        r"(?m)^\s*class \w+\(",
        "학생의 클래스를 물려받지 말고, 학생의 객체를 만들어 검사하세요.",
        "Do not inherit from a student's class: make an object of it and test that.",
    ),
    (
        "second derivatives",
        "",
        "두 번 미분은 할 수 없어요. 한 번 미분한 값이나 공식으로 검사하세요.",
        "No second derivatives: test the first ones, or the formula.",
    ),
    (
        "",
        r"\bautograd\.grad\(",
        "torch.autograd.grad 대신 loss.backward() 다음에 .grad를 보세요.",
        "Instead of torch.autograd.grad, loss.backward() and then .grad.",
    ),
    (
        "NameError",
        "",
        "이 이름이 선생님의 노트북 어디에서 만들어지는지 읽어 낼 수 없어요. 풀이 셀이나 읽기 전용 셀에서 def, class, "
        "=로 만드세요.",
        "Where the instructor's notebook binds this name cannot be read: bind it with def, class or = in an answer or "
        "read-only cell.",
    ),
    (
        "AssertionError",
        "==|!=|<|>",
        "학생의 객체끼리 비교하면 같은 객체인지만 봐요. 객체의 속성끼리 비교하세요: a.x == b.x.",
        "Two of the student's objects are equal only if they are the same one. Compare what they hold: a.x == b.x.",
    ),
)


def lines(report: Report, language: Language) -> list[str]:
    """The report for people: what is to be mended first, remarks after it, one sentence on the whole at the end."""
    korean = language == "ko"
    found = sorted(report.findings, key=lambda finding: not finding.refuses)
    said = [line for finding in found for line in told(finding, language)]
    if any(finding.kind == "differs" for finding in found):
        said.append(
            f"쓸 수 있는 검사와 쓸 수 없는 검사: {GUIDE['ko']}" if korean else f"What a test may write: {GUIDE['en']}"
        )
    if report.untried:
        said.append(
            f"다른 답 {report.untried}개는 아직 해 보지 않았어요. 위의 것부터 고쳐 주세요."
            if korean
            else f"{report.untried} other answers were not tried: mend this first."
        )
    return [*said, _whole(report, korean=korean)]


def _whole(report: Report, *, korean: bool) -> str:
    if report.refused:
        count = sum(finding.refuses for finding in report.findings)
        return (
            f"{report.assignment}: 고칠 것이 {count}개 있어서 배포하면 안 돼요."
            if korean
            else f"{report.assignment}: not to be released, {count} to be mended."
        )
    if report.remembered:
        return (
            f"{report.assignment}: 바뀐 것이 없고, 앞서 검사를 마쳤어요."
            if korean
            else f"{report.assignment}: in order, and unchanged since it was checked."
        )
    names = ", ".join(dict.fromkeys(each.name for each in report.tried))
    if not names:
        return f"{report.assignment}: 해 볼 것이 없어요." if korean else f"{report.assignment}: nothing to be tried."
    return (
        f"{report.assignment}: 노트북에서와 채점할 때의 점수가 같아요 ({names})."
        if korean
        else f"{report.assignment}: in order; the same points both ways ({names})."
    )


def told(finding: Finding, language: Language) -> Iterator[str]:
    """One finding: what happened, what was said there, and how to write it instead."""
    korean = language == "ko"
    where = " · ".join(part for part in (finding.notebook, finding.grade_id) if part)
    if finding.line:
        where += f", {finding.line}번째 줄" if korean else f", line {finding.line}"
    names = ", ".join(finding.answers[:NAMES_LIMIT]) + (" …" if len(finding.answers) > NAMES_LIMIT else "")
    yield _SAYS[finding.kind][0 if korean else 1].format(
        where=where,
        notebook=finding.notebook,
        answers=names,
        apart=finding.apart or 0.0,
        together=finding.together or 0.0,
        least=finding.least,
        most=finding.most,
        limit=finding.most,
        error=finding.error,
    )
    if finding.kind in ("stderr", "slow"):
        return
    if finding.code:
        yield f"    {finding.code}"
    if finding.error:
        yield f"    {finding.error}"
    if instead := _instead(finding, korean=korean):
        yield ("    이렇게 바꿔 보세요: " if korean else "    Instead: ") + instead


def _instead(finding: Finding, *, korean: bool) -> str:
    if finding.kind not in ("differs", "solution"):
        return ""
    for error, code, *words in _INSTEAD:
        in_error, in_code = re.search(error, finding.error), re.search(code, finding.cell)
        if in_error and in_code:
            return words[0 if korean else 1].format(what=in_error.groupdict().get("what", ""))
    return ""
