"""What grading says to students and teachers, in the class's language."""

from __future__ import annotations

from typing import Any, Literal

Language = Literal["ko", "en"]  # as in gpuclass.settings, which is not in the containers

_WORDS: dict[str, tuple[str, str]] = {  # key: (Korean, English)
    # Why a submission or notebook was put aside.
    "not-a-folder": ("제출물이 폴더가 아니에요", "the submission is not a folder"),
    "link": ("{path}: 다른 파일을 가리키는 링크는 받지 않아요", "{path}: links to other files are not accepted"),
    "special": ("{path}: 보통 파일이 아니에요", "{path}: not a regular file"),
    "unreadable": ("{path}: 읽을 수 없어요", "{path}: cannot be read"),
    "too-many-files": ("파일이 {limit}개를 넘어요", "more than {limit} files"),
    "file-size": ("{path}: {limit}보다 커요", "{path}: larger than {limit}"),
    "total-size": ("모두 합쳐 {limit}보다 커요", "larger than {limit} in all"),
    "ambiguous": ("{path}: 같은 이름의 노트북이 둘 있어요", "{path}: two notebooks have this name"),
    "not-json": ("{notebook}: 노트북 파일이 아니거나 깨졌어요", "{notebook}: not a notebook, or damaged"),
    "too-deep": ("{notebook}: 너무 깊이 겹친 파일이에요", "{notebook}: nested too deeply"),
    "not-v4": ("{notebook}: 형식 4가 아닌 노트북이에요", "{notebook}: not in notebook format 4"),
    "too-many-cells": ("{notebook}: 셀이 {limit}개를 넘어요", "{notebook}: more than {limit} cells"),
    "bad-cell": ("{notebook}: {number}번째 셀을 읽을 수 없어요", "{notebook}: cell {number} cannot be read"),
    "missing-notebook": ("{notebook}: 제출되지 않았어요", "{notebook}: not submitted"),
    # What was put back in order.
    "restored": ("지워진 셀을 되돌렸어요: {cells}", "deleted cells were put back: {cells}"),
    "rewritten": ("바뀐 읽기 전용 셀을 되돌렸어요: {cells}", "changed read-only cells were restored: {cells}"),
    "retyped": ("종류가 바뀐 셀을 되돌렸어요: {cells}", "cells whose type had changed were restored: {cells}"),
    "duplicated": ("겹친 셀은 마지막 것만 남겼어요: {cells}", "of duplicated cells the last was kept: {cells}"),
    "moved": ("자리가 바뀐 셀을 제자리에 뒀어요: {cells}", "cells out of order were moved back: {cells}"),
    "merged": ("합쳐진 셀을 다시 나눴어요: {cells}", "merged cells were taken apart: {cells}"),
    "recognised": (
        "표시를 잃은 셀을 알아보고 되살렸어요: {cells}",
        "cells that had lost their mark were recognised: {cells}",
    ),
    "left-out": ("채점에 쓰지 않은 파일: {cells}", "files not used for grading: {cells}"),
    "older-version": (
        "이 제출물은 과제의 {version}판을 푼 것이고, 지금은 {newest}판이 나와 있어요. 가장 새로운 검사로 채점했어요.",
        "This answers version {version} of {newest} of the assignment; it was graded with the newest tests.",
    ),
    # What happened while it ran.
    "timeout": (
        "이 셀이 제한 시간 {seconds:g}초를 넘겨서 멈췄어요. 끝나지 않는 반복문이 있는지 살펴보세요.",
        "This cell was stopped after its {seconds:g} s. Look for a loop that never ends.",
    ),
    "total": (
        "노트북 전체의 제한 시간 {seconds:g}초가 지났어요.",
        "The notebook's whole time of {seconds:g} s was used up.",
    ),
    "memory": (
        "메모리를 너무 많이 써서 실행이 멈췄어요. 더 작은 배열로 해 보세요.",
        "Running stopped: too much memory was used. Try smaller arrays.",
    ),
    "output": (
        "출력이 너무 많아서 실행이 멈췄어요.",
        "Running stopped: there was too much output.",
    ),
    "garbled": (
        "실행 결과를 읽을 수 없어서 멈췄어요.",
        "Running stopped: its results could not be read.",
    ),
    "died": (
        "이 셀에서 파이썬이 꺼졌어요.",
        "Python ended in this cell.",
    ),
    "not-run": (
        "앞에서 실행이 멈춰서 이 셀은 실행되지 않았어요.",
        "This cell was not run: running had stopped before it.",
    ),
    "withheld": ("채점하지 않았어요: {reason}", "Not graded: {reason}"),
    "bad-credit": (
        "검사 셀의 점수가 0과 {points:g} 사이의 수가 아니에요.",
        "The test cell's points are not a number between 0 and {points:g}.",
    ),
    "no-result": ("검사 결과가 없어요.", "The test gave no result."),
    # The feedback page.
    "score": ("점수", "Score"),
    "open-points": ("· {points}점은 선생님이 직접 채점해요", "· {points} more are graded by your teacher"),
    "part": ("문제", "Part"),
    "points": ("점수", "Points"),
    "remark": ("설명", "Remark"),
    "pending": ("선생님이 직접 채점해요", "to be graded by your teacher"),
    "partly": ("일부만 맞았어요", "partly right"),
    "unanswered": ("아직 답을 쓰지 않았어요", "not answered yet"),
    "assertion": ("검사의 조건이 맞지 않았어요", "the check's condition does not hold"),
    "hidden-short": ("숨은 검사를 통과하지 못했어요", "hidden checks fail"),
    "door-short": ("검사할 수 없는 값을 돌려줬어요", "gives a value that cannot be checked"),
    "door": (
        "내 코드가 검사에 준 값의 종류가 예상과 달라서 확인할 수 없었어요. 숫자, 글자, 리스트, 사전, 배열, 텐서처럼 "
        "문제에서 말한 종류의 값을 돌려주는지(return) 살펴보세요. 아래는 채점 프로그램이 남긴 말이에요.",
        "Your code gave the check a kind of value that it does not expect and cannot look at. See that you return what "
        "the exercise asks for: a number, text, list, dictionary, array or tensor. Below is what the grader said.",
    ),
    "not-graded": ("자동으로 채점하지 못했어요. {reason}.", "This could not be graded automatically: {reason}."),
    "a-person-looks": (
        "선생님이 직접 확인해요. 파일을 고쳐서 다시 제출해도 돼요.",
        "Your teacher will look at it. You can also put it right and submit again.",
    ),
    "submit-again": ("고쳐서 다시 제출해 주세요.", "Please put it right and submit again."),
    "hidden-failed": (
        "보이는 검사는 통과했지만 숨은 검사를 통과하지 못했어요. 다른 입력에서도 맞는지 살펴보세요.",
        "The checks you can see pass, but hidden ones do not. Try your answer with other inputs.",
    ),
    "answer": ("내 답", "Your answer"),
    "check": ("검사", "Check"),
    "comment": ("선생님의 말", "Comment"),
    "late": (
        "늦게 제출해서 {before}점에서 {penalty}점을 뺐어요.",
        "Submitted late: {penalty} points were taken off {before}.",
    ),
    "notices": ("알림", "Notes"),
    # Formgrader's due date.
    "bad-due": (
        "마감 시각이나 시간대를 읽을 수 없어서 저장하지 않았어요. 시간대 칸을 비우면 {zone} 시각으로 저장해요.",
        "Not saved: the due date or its offset cannot be read. Leave the offset empty for the time in {zone}.",
    ),
    "due-not-saved": (
        "마감을 저장하지 못했어요. 앞의 마감이 그대로예요. {reason}",
        "The due date is not saved; the one before stays. {reason}",
    ),
    # Formgrader's button, and its desk.
    "queued": (
        "채점 대기열에 넣었어요 (작업 {number}). 끝나면 표의 점수가 저절로 바뀌어요.",
        "Put in the grading queue (job {number}). The score in the table changes by itself when it is done.",
    ),
    "desk-graded-of": ("{all}명 중 {done}명 채점함", "{done} of {all} graded"),
    "desk-waiting": ("기다림 {count}", "{count} waiting"),
    "desk-running": ("채점 중 {count}", "{count} being graded"),
    "desk-delayed": ("횟수 제한으로 미룸 {count}", "{count} delayed by the limit of attempts"),
    "desk-failed": ("실패 {count}", "{count} failed"),
    "desk-quarantined": ("직접 확인할 것 {count}", "{count} to be looked at"),
    "desk-worker-gone": (
        "채점 서비스가 답하지 않아요. 제출물은 안전하게 쌓이고, 다시 켜지면 이어서 채점해요. 운영자에게 알려 주세요.",
        "The grading service does not answer. Submissions are safe and will be graded when it runs again. "
        "Tell the operator.",
    ),
    "desk-list-quarantined": (
        "자동으로 채점할 수 없는 제출물이에요. 이름을 눌러 직접 채점해 주세요.",
        "These cannot be graded automatically. Press a name to grade by hand.",
    ),
    "desk-list-failing": (
        "채점하지 못한 제출물이에요. 까닭을 고친 뒤 표의 Autograde를 눌러 주세요.",
        "Grading failed for these. Put right what is said, then press Autograde in the table.",
    ),
    "desk-regrade": ("다시 채점: 무엇이 바뀌는지 보기", "Re-grade: show what would change"),
    "desk-student": ("학생", "Student"),
    "desk-total": ("점수", "Score"),
    "desk-parts": ("문제별", "Parts"),
    "desk-apply": ("이대로 바꾸기", "Apply"),
    "desk-cancel": ("그만두기", "Cancel"),
    "desk-not-queued": ("채점 대기열에 넣지 못했어요", "Not put in the grading queue"),
    "desk-batch-previewing": (
        "{total}명 가운데 {done}명을 다시 채점해 보았어요. 아직 아무 점수도 바뀌지 않았어요.",
        "{done} of {total} graded again as a trial. No score has changed yet.",
    ),
    "desk-batch-ready": (
        "{changes}명의 점수가 바뀌고 {same}명은 그대로예요. 아직 아무것도 바꾸지 않았어요.",
        "The scores of {changes} would change, those of {same} would not. Nothing has changed yet.",
    ),
    "desk-batch-same": ("바뀌는 점수가 없어요.", "No score would change."),
    "desk-batch-applying": ("점수를 바꾸고 있어요.", "Scores are being changed."),
    "desk-batch-applied": ("점수를 바꿨어요.", "The scores are changed."),
    "desk-batch-cancelled": ("그만뒀어요. 바뀐 점수는 없어요.", "Cancelled. No score has changed."),
    "desk-batch-failed": (
        "{count}명은 다시 채점하지 못했어요. 이 학생들의 점수는 그대로예요.",
        "{count} could not be graded again; their scores stay.",
    ),
}


def say(language: Language, key: str, **details: Any) -> str:
    """The sentence ``key`` with ``details`` filled in."""
    return pattern(language, key).format(**details)


def pattern(language: Language, key: str) -> str:
    """The sentence ``key`` with its places for details left open."""
    korean, english = _WORDS[key]
    return korean if language == "ko" else english
