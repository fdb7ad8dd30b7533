"""What people read of the exchange, in Korean and English. Pure; both sides use it.

Each text says what happened, what it means and what to do next. A key stands in both languages or in none.
"""

from __future__ import annotations

from typing import Literal

Language = Literal["ko", "en"]
LANGUAGES: tuple[Language, ...] = ("ko", "en")

_TEXTS: dict[str, dict[Language, str]] = {
    # Names
    "name.path": {
        "ko": "{name!r}: 폴더 밖을 가리키거나 비어 있는 이름이에요. 과제 폴더 안의 파일만 보낼 수 있어요.",
        "en": "{name!r} points outside the folder or is empty. Only files inside the assignment's folder can be sent.",
    },
    "name.character": {
        "ko": "{name!r}: 이름에 쓸 수 없는 글자가 있어요. "
        '/ \\ : * ? " < > | 와 보이지 않는 글자를 빼고 이름을 바꿔 주세요.',
        "en": 'The name {name!r} has a character that is not allowed. Rename it without / \\ : * ? " < > | and '
        "invisible characters.",
    },
    "name.edge": {
        "ko": "{name!r}: 이름이 빈칸이나 점으로 끝나거나 빈칸으로 시작해요. 이름을 바꿔 주세요.",
        "en": "The name {name!r} begins or ends with a space, or ends with a dot. Rename it.",
    },
    "name.reserved": {
        "ko": "{name!r}: Windows가 장치 이름으로 쓰는 이름이에요. 이름을 바꿔 주세요.",
        "en": "The name {name!r} belongs to a device on Windows. Rename it.",
    },
    "name.length": {
        "ko": "{name:.40}…: 이름이 너무 길어요. 짧게 바꿔 주세요.",
        "en": "The name {name:.40}… is too long. Give it a shorter one.",
    },
    "name.depth": {
        "ko": "{name!r}: 폴더가 너무 깊어요({limit}단계까지). 파일을 위로 옮겨 주세요.",
        "en": "{name!r} lies too deep (at most {limit} levels). Move it up.",
    },
    "name.twin": {
        "ko": "{name!r}: 대소문자나 글자 조합만 다른 같은 이름이 또 있어요. 하나의 이름을 바꿔 주세요.",
        "en": "{name!r} is there twice, but for upper and lower case or composition of letters. Rename one of them.",
    },
    # Sizes and rates
    "size.request": {
        "ko": "보낸 것이 너무 커요. 한 번에 {limit}까지 받아요. 아무것도 저장하지 않았어요. "
        "노트북의 출력을 지우고 데이터 파일을 폴더에서 빼 주세요.",
        "en": "That is too large: at most {limit} is taken at once, and nothing was stored. "
        "Clear the notebook's outputs and take data files out of the folder.",
    },
    "size.file": {
        "ko": "{name!r}: 크기가 {size}예요. 파일 하나는 {limit}까지 낼 수 있어요. "
        "노트북이면 출력을 지우고, 데이터 파일이면 폴더에서 빼 주세요.",
        "en": "{name!r} has {size}; a file may have {limit}. "
        "Clear its outputs if it is a notebook; take it out of the folder if it is data.",
    },
    "size.submission": {
        "ko": "모두 합쳐 {size}예요. 한 번에 {limit}까지 낼 수 있어요. 노트북의 출력을 지우고 데이터 파일을 빼 주세요.",
        "en": "All files together have {size}; a submission may have {limit}. "
        "Clear the notebooks' outputs and take data files out of the folder.",
    },
    "size.count": {
        "ko": "파일이 {count}개예요. 한 번에 {limit}개까지 낼 수 있어요. 과제와 상관없는 파일을 폴더에서 빼 주세요.",
        "en": "There are {count} files; a submission may have {limit}. "
        "Take those that do not belong out of the folder.",
    },
    "quota": {
        "ko": "이 과제에 낸 것이 모두 {used}예요. {limit}까지 저장할 수 있어요. 앞서 낸 것은 그대로 있어요. "
        "파일을 줄이거나 선생님께 말씀드려 주세요.",
        "en": "Your submissions to this assignment take {used} of {limit}. Those already sent are safe. "
        "Send less, or tell your teacher.",
    },
    "rate": {
        "ko": "1분에 {limit}번까지 낼 수 있어요. {seconds}초 뒤에 다시 제출해 주세요. 앞서 낸 것은 그대로 있어요.",
        "en": "You can submit {limit} times a minute. Submit again in {seconds} s; those already sent are safe.",
    },
    "busy": {
        "ko": "앞서 보낸 것을 아직 받고 있어요. 끝난 뒤에 다시 제출해 주세요.",
        "en": "What you sent before is still arriving. Submit again when it is done.",
    },
    "slow": {
        "ko": "{seconds}초 안에 다 오지 않아서 받기를 그만뒀어요. 아무것도 저장하지 않았어요. 다시 제출해 주세요.",
        "en": "It did not arrive within {seconds} s, and nothing was stored. Submit again.",
    },
    # Streaming uploads
    "stream.damaged": {
        "ko": "{name!r}: 보내는 동안 파일이 상했어요. 아무것도 저장하지 않았어요. 다시 제출해 주세요.",
        "en": "{name!r} arrived damaged, and nothing was stored. Submit again.",
    },
    "stream.reused": {
        "ko": "같은 제출 번호로 다른 파일이 먼저 왔어요. 먼저 낸 것은 그대로 있어요. 제출을 다시 눌러 주세요.",
        "en": "Other files came under the same submission key before; those are safe. Press submit again.",
    },
    # The service's own trouble
    "disk": {
        "ko": "서버에 저장하지 못했어요. 제출되지 않았어요. 선생님께 바로 알려 주세요.",
        "en": "The server could not store it; it was not submitted. Tell your teacher now.",
    },
    "hub": {
        "ko": "지금은 누구인지 확인할 수 없어요. 제출되지 않았어요. 잠시 뒤에 다시 해 주세요.",
        "en": "The server cannot check who you are just now; nothing was submitted. Try again in a moment.",
    },
    # The client
    "client.unreachable": {
        "ko": "제출 서버에 연결할 수 없어요. 아직 아무것도 보내지 못했어요. "
        "잠시 뒤에 다시 하고, 계속되면 선생님께 알려 주세요.",
        "en": "The exchange cannot be reached; nothing has been sent. Try again in a moment, and tell your teacher "
        "if it stays so.",
    },
    "client.list": {
        "ko": "과제 목록을 가져오지 못했어요. 잠시 뒤에 새로 고치고, 계속되면 선생님께 알려 주세요.",
        "en": "The list of assignments could not be fetched. Reload in a moment, and tell your teacher if it stays so.",
    },
    "client.login": {
        "ko": "로그인이 만료됐어요. 서버를 멈췄다가 다시 시작해 주세요. 파일은 그대로 있어요.",
        "en": "Your login is no longer valid. Stop your server and start it again; your files stay.",
    },
    "client.environment": {
        "ko": "{name} 환경 변수가 없어요. 수업 서버에서 연 노트북에서만 쓸 수 있어요.",
        "en": "The environment variable {name} is not set. This works only in a server that the class started.",
    },
    "client.course": {
        "ko": "수업 이름이 없어요. --course 로 알려 주세요.",
        "en": "No course was named. Name it with --course.",
    },
    "client.forbidden": {
        "ko": "이 수업에서 할 수 없는 일이에요. 잘못된 것 같으면 선생님께 말씀드려 주세요.",
        "en": "You may not do this in this course. If that is wrong, tell your teacher.",
    },
    "client.no_assignment": {
        "ko": "{assignment!r} 과제가 없어요. 지금 있는 과제: {known}",
        "en": "There is no assignment {assignment!r}. There are: {known}",
    },
    "client.none": {"ko": "없음", "en": "none"},
    "client.refused": {
        "ko": "제출 서버가 거절했어요: {message}",
        "en": "The exchange refused: {message}",
    },
    "client.no_folder": {
        "ko": "{folder} 폴더가 없어요. 먼저 과제를 받아 주세요(Fetch).",
        "en": "There is no folder {folder}. Fetch the assignment first.",
    },
    "client.there": {
        "ko": "{folder} 폴더가 이미 있어요. 있는 파일은 바꾸지 않아요. 빠진 파일만 받으려면 --replace 를 써 주세요.",
        "en": "The folder {folder} is there already; nothing in it is changed. "
        "To get missing files only, use --replace.",
    },
    "client.not_a_folder": {
        "ko": "{folder} 은(는) 폴더가 아니거나 다른 곳을 가리키는 링크예요. 이름을 바꾸거나 지우고 다시 해 주세요.",
        "en": "{folder} is not a folder, or is a link to somewhere else. Rename or remove it and try again.",
    },
    "client.skipped_link": {
        "ko": "보내지 않음: {name} (링크나 특수 파일)",
        "en": "not sent: {name} (a link or special file)",
    },
    "client.skipped_size": {
        "ko": "보내지 않음: {name} ({size}, 파일 하나는 {limit}까지)",
        "en": "not sent: {name} ({size}; a file may have {limit})",
    },
    "client.skipped_name": {
        "ko": "보내지 않음: {reason}",
        "en": "not sent: {reason}",
    },
    "client.missing": {
        "ko": "{names} 이(가) 폴더에 없어요.",
        "en": "not in the folder: {names}",
    },
    "client.not_submitted": {
        "ko": "제출하지 않았어요. {reason}",
        "en": "Not submitted. {reason}",
    },
    "client.submitted": {"ko": "제출했어요: {receipt}", "en": "Submitted: {receipt}"},
    "client.changed": {
        "ko": "보내는 동안 폴더의 파일이 바뀌었어요. 저장이 끝난 뒤에 다시 눌러 주세요.",
        "en": "A file in the folder changed while it was being sent. Press again when it is saved.",
    },
    "client.fetched": {"ko": "받았어요: {folder}", "en": "Fetched: {folder}"},
    "client.feedback": {"ko": "채점 결과: {path}", "en": "Feedback: {path}"},
    "client.no_feedback": {
        "ko": "{assignment}: 아직 채점 결과가 없어요.",
        "en": "{assignment}: no feedback yet.",
    },
    "client.released": {
        "ko": "배포했어요: {assignment} (판 {version})",
        "en": "Released: {assignment}, version {version}",
    },
    "client.already_released": {
        "ko": "{assignment} 은(는) 이미 배포되어 있어요. 고친 판을 내려면 --force 를 써 주세요. "
        "제출된 것은 모두 남아요.",
        "en": "{assignment} is released already. Use --force for a corrected version; every submission stays.",
    },
    "client.feedback_released": {
        "ko": "채점 결과를 공개했어요: {assignment} · {student} · {time}",
        "en": "Feedback released: {assignment} · {student} · {time}",
    },
    "client.collected": {
        "ko": "모았어요: {assignment} · {student} · {time}",
        "en": "Collected: {assignment} · {student} · {time}",
    },
    "client.hidden": {
        "ko": "숨겼어요: {assignment}. 제출된 것은 모두 남아 있어요.",
        "en": "Hidden: {assignment}. Every submission is kept.",
    },
    "client.not_removable": {
        "ko": "제출된 것은 지울 수 없어요.",
        "en": "Submissions cannot be removed.",
    },
    # Instructors
    "teach.not_released": {"ko": "배포하지 않았어요. {reason}", "en": "Not released. {reason}"},
    "teach.trying": {
        "ko": "{assignment}: 배포하기 전에 채점해 보고 있어요. 학생의 노트북에서와 점수가 같은지 봐요. ({seconds}초)",
        "en": "{assignment}: trying it before the release: does it score the same in a notebook and when it is graded? "
        "({seconds} s)",
    },
    "teach.untried": {
        "ko": "{assignment}: 채점 서비스가 멈춰 있어서 미리 채점해 보지 못했어요. 배포는 계속해요. "
        "서비스가 돌아오면 운영자에게 부탁해 주세요: gpuclass check {assignment}",
        "en": "{assignment}: the grading service is not running, so it could not be tried. The release goes on. When "
        "the service is back, ask the operator for: gpuclass check {assignment}",
    },
    "teach.still_trying": {
        "ko": "{assignment}: 아직 채점해 보고 있어요. 잠시 뒤에 배포를 다시 눌러 주세요.",
        "en": "{assignment} is still being tried. Release it again in a moment.",
    },
    "teach.not_tried": {
        "ko": "{assignment}: 미리 채점해 보지 못했어요. {reason}",
        "en": "{assignment} could not be tried: {reason}",
    },
    "teach.not_in_order": {
        "ko": "배포하지 않았어요. 위에 적힌 것을 고치고 학생용을 다시 만든 뒤 배포해 주세요. "
        "그래도 배포하려면 터미널에서: "
        "nbgrader release_assignment {assignment} --ExchangeReleaseAssignment.check=False",
        "en": "Not released. Mend what stands above, generate the assignment again and release it. To release it all "
        "the same, in a terminal: nbgrader release_assignment {assignment} --ExchangeReleaseAssignment.check=False",
    },
    "teach.earlier": {
        "ko": "앞 판으로 낸 제출물이 {count}개 있어요(학생 {students}명). 모두 그대로 남아 있어요.",
        "en": "{count} submissions of {students} students answered an earlier version; all of them are kept.",
    },
    "teach.due": {"ko": "마감: {assignment} · {due}", "en": "Due: {assignment} · {due}"},
    "teach.due_differs": {
        "ko": "{assignment}: 성적부의 마감은 {gradebook}인데 제출 서버의 마감은 {exchange}예요. "
        "제출 서버의 마감을 그대로 두었어요. 바꾸려면 Formgrader에서 과제를 편집해 주세요.",
        "en": "{assignment}: due {gradebook} by the gradebook, {exchange} by the exchange. The exchange's stays; to "
        "change it, edit the assignment in Formgrader.",
    },
    "teach.due_failed": {
        "ko": "{assignment} 은(는) 배포했지만 마감을 정하지 못했어요: {reason} "
        "Formgrader에서 과제의 마감을 다시 저장해 주세요.",
        "en": "{assignment} is released, but its deadline could not be set: {reason} "
        "Save its due date again in Formgrader.",
    },
    "teach.hidden_tests": {
        "ko": "배포하지 않았어요. 숨은 검사가 채점 결과에 보이게 되는 셀이 있어요: {cells}. "
        "숨길 줄은 ### BEGIN HIDDEN TESTS 와 ### END HIDDEN TESTS 사이에 두고"
        "(과제 셀은 === BEGIN MARK SCHEME ===), 학생용을 다시 만든 뒤 배포해 주세요.",
        "en": "Not released: feedback would show what students do not see now in {cells}. Put hidden lines between "
        "### BEGIN HIDDEN TESTS and ### END HIDDEN TESTS (in tasks === BEGIN MARK SCHEME ===), generate the student "
        "version again, and release that.",
    },
    "teach.strange_page": {
        "ko": "{page} 은(는) 다른 nbgrader가 만들어 숨은 검사가 들어 있을 수 있어서 보내지 않았어요. "
        "채점 결과를 다시 만들어 주세요: nbgrader generate_feedback --force",
        "en": "{page} was made by another nbgrader and may hold hidden tests: not sent. "
        "Make it again: nbgrader generate_feedback --force",
    },
    "teach.feedback_refused": {
        "ko": "{count}명의 채점 결과는 보내지 못했어요. 다른 학생들 것은 보냈어요. {reasons}",
        "en": "The feedback of {count} could not be released; everybody else's was. {reasons}",
    },
    "teach.late": {"ko": "늦음 (마감 {due})", "en": "late (due {due})"},
    "teach.queued": {
        "ko": "연결이 끊겨 나중에 도착 (학생 컴퓨터 시계로 {time}에 제출)",
        "en": "arrived later for want of a connection (pressed at {time} by the student's own clock)",
    },
    "teach.version": {"ko": "{version}판을 푼 것 (지금 {newest}판)", "en": "answers version {version} of {newest}"},
    "due.none": {"ko": "마감 없음", "en": "no deadline"},
    "due.no_effect": {"ko": "반 마감이 더 늦거나 없어서 효과 없음", "en": "no effect: the class has longer"},
    "due.when": {
        "ko": '{text!r} 은(는) 시각이 아니에요. "2026-11-24 18:00", "18:00"(오늘), "+30m", "+2h"(지금부터), '
        '"none"처럼 써 주세요. {zone} 시각이에요.',
        "en": '{text!r} is not a time; write "2026-11-24 18:00", "18:00" (today), "+30m" or "+2h" from now, or '
        '"none". Times are those of {zone}.',
    },
    "due.not_released": {
        "ko": "아직 배포하지 않은 과제예요. 먼저 배포하거나, Formgrader에서 마감을 적어 두면 배포할 때 함께 나가요.",
        "en": "That assignment is not released yet. Release it first, or enter its due date in Formgrader: it goes out "
        "with the release.",
    },
    "due.help": {
        "ko": "과제의 마감을 보거나 정해요. 시각은 수업의 시간대예요.",
        "en": "Show or set until when an assignment can be handed in, in the class's time.",
    },
    "due.help_assignment": {"ko": "과제 이름", "en": "its name"},
    "due.help_when": {
        "ko": '"2026-11-24 18:00", "18:00"(오늘), "+30m", "+2h", "none"(없앰). 없으면 지금 마감을 보여 줘요',
        "en": '"2026-11-24 18:00", "18:00" for today, "+30m" or "+2h" from now, "none"; without it, show',
    },
    "due.help_student": {"ko": "이 학생만 더 오래 낼 수 있게 해요", "en": "more time for this student alone"},
    # Receipts and deadlines
    "receipt.number": {"ko": "접수 번호 {number}", "en": "receipt {number}"},
    "receipt.late": {"ko": "늦음", "en": "late"},
    "receipt.in_time": {"ko": "제때 냄", "en": "in time"},
    "receipt.version": {"ko": "{version}판", "en": "version {version}"},
    "due.until": {"ko": "{time}까지", "en": "due {time}"},
    "due.passed": {
        "ko": "{time}까지였어요. 지금 내면 늦은 제출이 돼요",
        "en": "was due {time}; what you submit now is late",
    },
    # What waits to be sent
    "outbox.waits": {
        "ko": "아직 제출되지 않았어요. {reason} 방금 누른 그대로 보관했고, 서버가 켜져 있는 동안 저절로 다시 보내요. "
        "다시 누르지 않아도 돼요. (아직 못 보낸 제출: {count}개)",
        "en": "Not yet submitted. {reason} It is kept as it was when you pressed, and will be sent by itself while "
        "your server runs; you need not press again. (not yet sent: {count})",
    },
    "outbox.not_kept": {
        "ko": "{reason} 내 저장 공간에 자리가 없어서 보관하지도 못했어요. 조금 뒤에 다시 눌러 주세요.",
        "en": "{reason} There was no room in your home to keep it, either. Press again in a moment.",
    },
    "outbox.unreachable": {
        "ko": "지금은 제출 서버가 답하지 않아요.",
        "en": "The exchange does not answer just now.",
    },
    "outbox.unreadable": {
        "ko": "보낼 파일을 지금은 읽을 수 없어요.",
        "en": "A file to be sent cannot be read just now.",
    },
    "outbox.turn": {
        "ko": "앞서 누른 제출을 아직 보내고 있어요.",
        "en": "What you submitted before is still being sent.",
    },
    "outbox.busy": {
        "ko": "너무 자주 눌러서 제출 서버가 잠시 기다리라고 해요.",
        "en": "You pressed so often that the exchange asks you to wait a little.",
    },
    "outbox.waiting": {
        "ko": "아직 못 보낸 제출이 {count}개 있어요({assignments}). 서버가 켜져 있는 동안 저절로 다시 보내요. "
        "보낼 때까지 서버를 끄지 말아 주세요.",
        "en": "Not yet sent: {count} ({assignments}). It will be sent by itself while your server runs; please leave "
        "the server on until then.",
    },
    "outbox.pressed": {"ko": "아직 안 보냄 · {time}에 누름", "en": "not yet sent · pressed at {time}"},
    "outbox.sent": {
        "ko": "아까 누른 제출을 이제 보냈어요: {receipt}",
        "en": "What you submitted earlier is sent now: {receipt}",
    },
    "outbox.refused": {
        "ko": "아까 누른 {assignment} 제출은 받아들여지지 않았어요. {reason}",
        "en": "What you submitted earlier to {assignment} was not taken. {reason}",
    },
    "outbox.damaged": {
        "ko": "보관하던 파일이 바뀌어서 보낼 수 없어요. 다시 제출해 주세요.",
        "en": "The files that were kept have changed and cannot be sent. Submit again.",
    },
    # Versions of an assignment
    "version.new": {
        "ko": "{assignment} 과제의 {version}판이 나왔어요.",
        "en": "{assignment} has a new version {version}.",
    },
    "version.replaced": {
        "ko": "고치지 않은 파일은 새것으로 바꿨어요: {names}.",
        "en": "Files you had not changed are the new ones now: {names}.",
    },
    "version.back": {
        "ko": "지웠던 파일은 새것을 다시 놓았어요: {names}.",
        "en": "Files you had deleted are back, new: {names}.",
    },
    "version.beside": {
        "ko": "내가 고친 파일은 그대로 두고, 새것을 옆에 놓았어요: {names}.",
        "en": "Files you had changed stay; the new ones lie beside them: {names}.",
    },
    "version.copy": {
        "ko": "채점되는 파일은 {path}이고, {copy}은(는) 아니에요. {copy}을(를) 내려면 {path}의 이름을 다른 것으로 "
        "바꾸고, {copy}의 이름을 {path}(으)로 바꾼 다음 다시 제출해 주세요.",
        "en": "{path} is what is graded, not {copy}. To hand in {copy}, give {path} another name, rename {copy} to "
        "{path}, and submit again.",
    },
    "version.failed": {
        "ko": "{assignment} 과제의 새 판을 가져오지 못했어요. 있던 파일은 그대로예요. ({reason})",
        "en": "The new version of {assignment} could not be brought; your files are as they were. ({reason})",
    },
    # How far a submission is
    "state.waiting": {"ko": "채점 기다리는 중", "en": "waiting to be graded"},
    "state.next": {"ko": "채점 기다리는 중 · 다음 차례예요", "en": "waiting to be graded · you are next"},
    "state.place": {
        "ko": "채점 기다리는 중 · 앞에 {place}개 있어요",
        "en": "waiting to be graded · {place} before it",
    },
    "state.delayed": {
        "ko": "잘 받았어요 · 한 시간에 채점하는 횟수를 다 써서 {time}에 채점해요",
        "en": "received · graded at {time}: the graded attempts of this hour are used up",
    },
    "state.running": {"ko": "채점 중", "en": "being graded"},
    "state.failed": {"ko": "자동 채점 안 됨, 선생님이 확인해요", "en": "not graded; your teacher will look at it"},
    "state.quarantined": {
        "ko": "자동으로 채점할 수 없는 파일이라 선생님이 직접 확인해요",
        "en": "cannot be graded automatically; your teacher will look at it",
    },
    "state.opens_later": {
        "ko": "채점을 마쳤어요 · 결과는 마감({time}) 뒤에 보여요",
        "en": "graded · the result is shown after the deadline, {time}",
    },
    "state.on_release": {
        "ko": "채점을 마쳤어요 · 결과는 선생님이 공개하면 보여요",
        "en": "graded · the result is shown when your teacher releases it",
    },
    "following.shown": {
        "ko": "{text} · 과제 탭에서 채점 결과를 받아 볼 수 있어요(Fetch Feedback)",
        "en": "{text} · the Assignments tab has the feedback (Fetch Feedback)",
    },
    "state.score": {"ko": "{max_score:g}점 중 {score:g}점", "en": "{score:g} of {max_score:g} points"},
}


def say(language: Language, key: str, **values: object) -> str:
    """The text called ``key``, with ``values`` filled in."""
    return _TEXTS[key][language].format(**values)


def megabytes(count: int) -> str:
    """A number of bytes as people compare it with a limit: ``3.4 MB`` (2**20 bytes)."""
    return f"{count / 2**20:.1f} MB" if count >= 2**20 / 10 else f"{count / 2**10:.1f} KB"
