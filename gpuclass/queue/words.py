"""What the queue and the seats say to students and teachers, in the class's language. Only words and their numbers."""

from __future__ import annotations

import math
from typing import Literal

Language = Literal["ko", "en"]
Why = Literal["start", "seat", "unknown-devices", "too-large", "engine"]

SOON_S = 10  # less than this is "any moment": a number would be older than it says
SECONDS_UNTIL_S = 90  # longer waits are told in minutes
MINUTES_UNTIL_S = 3600  # an estimate of more than an hour is no estimate

_WORDS: dict[str, tuple[str, str]] = {  # key: (Korean, English)
    # One line each, for the event stream: what a start is doing, and how it failed.
    "prepare": ("내 자리를 준비하고 있어요…", "Getting your place ready…"),
    "container": ("내 컴퓨터(컨테이너)를 만들고 있어요…", "Making your computer (a container)…"),
    "server": ("노트북 서버를 켜고 있어요…", "Starting the notebook server…"),
    "ready": ("준비가 끝났어요!", "Ready!"),
    "crashed": (
        "서버가 켜지다가 멈췄어요. 다시 시도해 보고, 그래도 안 되면 선생님께 알려 주세요.",
        "Your server stopped while starting. Try again; if it stays so, tell your teacher.",
    ),
    "engine": (
        "지금은 서버를 켤 수 없어요. 선생님께 알려 주세요. (Docker가 응답하지 않음)",
        "Servers cannot be started right now. Please tell your teacher. (Docker does not answer)",
    ),
    "seat-gone": (
        "방금 받은 GPU 자리를 쓸 수 없게 되었어요. 다시 시작하면 다른 자리를 받아요.",
        "The GPU seat that you just got cannot be used. Start again and you get another one.",
    ),
    "bad-choice": (
        "GPU 자리와 CPU 가운데 하나를 골라 주세요.",
        "Please choose a GPU seat or the CPU.",
    ),
    # Where somebody stands in the queue. {ahead}, {time}: see place() and duration().
    "title-start": ("차례를 기다리고 있어요", "Waiting for your turn"),
    "title-seat": ("GPU 자리를 기다리고 있어요", "Waiting for a GPU seat"),
    "title-unknown-devices": ("GPU를 확인하고 있어요", "Checking the GPUs"),
    "title-too-large": ("이 크기의 GPU 자리가 지금 없어요", "There is no GPU seat of your size"),
    "title-engine": ("서버를 켤 준비를 기다리고 있어요", "Waiting until servers can be started"),
    "title-starting": ("서버를 켜고 있어요", "Your server is starting"),
    "title-ready": ("준비됐어요! 지금 들어가요", "Ready! Taking you there now"),
    "title-reconnecting": ("다시 연결하고 있어요", "Reconnecting"),
    "title-switching": ("CPU로 바꾸고 있어요", "Changing to the CPU"),
    "title-stopping": ("취소하고 있어요", "Cancelling"),
    "title-resuming": ("하던 차례로 돌아가고 있어요", "Going back to your place"),
    "title-failed": ("서버를 시작하지 못했어요", "The server could not start"),
    "title-stopped": ("서버가 꺼져 있어요", "The server is not running"),
    "ahead-none": ("다음이 내 차례예요", "You are next"),
    "ahead-one": ("앞에 1명", "1 person before you"),
    "ahead-many": ("앞에 {ahead}명", "{ahead} people before you"),
    "time-soon": ("곧", "any moment"),
    "time-seconds": ("약 {n}초", "about {n} seconds"),
    "time-minutes": ("약 {n}분", "about {n} minutes"),
    "time-hour": ("한 시간 넘게", "more than an hour"),
    "time-unknown": ("얼마나 걸릴지 아직 몰라요", "nobody can say yet how long"),
    "left": ("{time} 남았어요", "{time} to go"),
    "left-soon": ("곧 시작해요", "It starts any moment"),
    "left-unknown": ("얼마나 걸릴지 아직 몰라요", "Nobody can say yet how long it takes"),
    # What to do meanwhile.
    "hint-start": (
        "이 페이지를 그대로 두면 차례가 되었을 때 저절로 들어가요.",
        "Leave this page open: it takes you in by itself when it is your turn.",
    ),
    "hint-seat": (
        "자리가 나면 저절로 들어가요. 기다리지 않고 CPU로 먼저 시작해도 돼요.",
        "You go in by yourself when a seat is free. Or start on the CPU now.",
    ),
    "hint-unknown-devices": (
        "지금은 쓸 수 있는 GPU가 보이지 않아 자리를 나눠 줄 수 없어요. 차례는 그대로예요. "
        "1분 넘게 이러면 선생님께 말씀드려 주세요.",
        "No GPU that works can be seen right now, so no seat is given out. You keep your place. "
        "If this lasts for more than a minute, tell your teacher.",
    ),
    "hint-too-large": (
        "기다려도 자리가 나지 않아요. 선생님께 말씀드리고, 그동안 CPU로 시작해 주세요.",
        "Waiting does not help. Tell your teacher, and start on the CPU meanwhile.",
    ),
    "hint-engine": (
        "지금은 아무도 서버를 켤 수 없어요(Docker가 응답하지 않음). 차례는 그대로예요. "
        "1분 넘게 이러면 선생님께 말씀드려 주세요.",
        "Nobody's server can be started right now (Docker does not answer). You keep your place. "
        "If this lasts for more than a minute, tell your teacher.",
    ),
    "hint-starting": (
        "이 페이지를 그대로 두면 준비되는 대로 들어가요.",
        "Leave this page open: it takes you in when the server is ready.",
    ),
    "hint-reconnecting": (
        "연결이 잠깐 끊겼어요. 차례는 그대로이니 이 페이지를 그대로 두세요.",
        "The connection is gone for a moment. You keep your place; leave this page open.",
    ),
    "hint-switching": ("잠깐이면 돼요.", "This takes a moment."),
    "hint-resuming": (
        "내 차례를 지키고 있었어요. 잠시 뒤에 저절로 이어져요.",
        "Your place was kept for you. It goes on by itself in a moment.",
    ),
    "hint-failed": (
        "작성한 파일은 그대로 있어요. 다시 시작해 보고, 또 안 되면 선생님께 말씀드려 주세요.",
        "Your files are all there. Try once more; if it fails again, ask your teacher.",
    ),
    "hint-failed-why": ("작성한 파일은 그대로 있어요.", "Your files are all there."),
    "hint-stopped": (
        "작성한 파일은 그대로 있어요. 시작하면 이어서 할 수 있어요.",
        "Your files are all there. Start it and go on.",
    ),
    "hint-reclaimed": (
        "쉬고 있던 GPU 자리를 돌려주었어요. 파일은 그대로 있어요. 시작하면 이어서 할 수 있어요.",
        "Your GPU seat was idle and has been given back. Your files are all there. Start it and go on.",
    ),
    # Buttons, and what they mean.
    "cpu": ("지금 CPU로 시작하기", "Start on the CPU now"),
    "cpu-means": (
        "GPU 차례에서는 빠져요. 나중에 서버를 껐다 켜면 GPU를 다시 고를 수 있어요.",
        "You leave the queue for a GPU. Stop and start your server later to choose a GPU again.",
    ),
    "cancel": ("시작 취소", "Cancel"),
    "cancel-sure": (
        "정말 취소할까요? 지금 차례를 잃고, 다시 시작하면 맨 뒤에 서요.",
        "Cancel the start? You lose your place and begin at the end of the queue again.",
    ),
    "start": ("시작하기", "Start"),
    "again": ("다시 시작하기", "Start again"),
    "home": ("처음 화면으로", "Back to the first page"),
    "not-done": (
        "잘 되지 않았어요. 잠시 뒤에 다시 눌러 주세요.",
        "That did not work. Please press the button again in a moment.",
    ),
    "log": ("자세히", "Details"),
    "step-queue": ("차례", "Queue"),
    "step-start": ("켜기", "Start"),
    "step-in": ("입장", "In"),
    # The page with the choice.
    "choose": ("무엇으로 시작할까요?", "What do you want to start with?"),
    "gpu-title": ("GPU 자리", "GPU seat"),
    "gpu-use": ("모델을 학습하는 수업에서는 이것을 골라요.", "Take this one for lessons in which you train models."),
    "gpu-start": ("GPU로 시작하기", "Start with a GPU"),
    "gpu-wait": ("GPU 자리 기다리기", "Wait for a GPU seat"),
    "cpu-title": ("CPU만", "CPU only"),
    "cpu-use": (
        "코드를 쓰고 그림과 표를 볼 때 좋아요. 학습은 느려요.",
        "Good for writing code and looking at plots. Training is slow.",
    ),
    "cpu-start": ("CPU로 시작하기", "Start with the CPU"),
    "free-many": ("빈자리 {free}개", "{free} seats free"),
    "free-one": ("빈자리 1개", "1 seat free"),
    "free-none": ("지금은 빈자리가 없어요", "No seat is free right now"),
    "free-unknown": (
        "지금은 GPU를 볼 수 없어요. 선생님께 알려 주세요.",
        "The GPUs cannot be seen right now. Please tell your teacher.",
    ),
    "of-seats": ("전체 {seats}개", "of {seats}"),
    "waiting-one": ("1명이 기다려요", "1 person is waiting"),
    "waiting-many": ("{waiting}명이 기다려요", "{waiting} people are waiting"),
    "at-once": ("기다리지 않고 시작해요", "Starts without waiting"),
    "wait-time": ("기다리는 시간 {time}", "Wait: {time}"),
}

_SAID: dict[Language, dict[str, str]] = {
    "ko": {key: korean for key, (korean, _) in _WORDS.items()},
    "en": {key: english for key, (_, english) in _WORDS.items()},
}
_ONE_LINE: dict[Why, tuple[str, str]] = {
    "start": ("차례를 기다리고 있어요: {place}, {time}.", "Waiting for your turn: {place}, {time}."),
    "seat": ("GPU 자리를 기다리고 있어요: {place}, {time}.", "Waiting for a GPU seat: {place}, {time}."),
    "unknown-devices": (
        "쓸 수 있는 GPU가 보이지 않아 기다리고 있어요.",
        "Waiting, as no GPU that works can be seen.",
    ),
    "too-large": (
        "이 크기의 GPU 자리가 지금 없어요. 선생님께 말씀드려 주세요.",
        "There is no GPU seat of your size. Please tell your teacher.",
    ),
    "engine": (
        "Docker가 응답하지 않아 기다리고 있어요.",
        "Waiting, as Docker does not answer.",
    ),
}


def words(language: Language) -> dict[str, str]:
    """All words of one language by key; the pages' scripts get them too, so they hold no secrets and no HTML."""
    return dict(_SAID[language])


def duration(seconds: float | None, language: Language) -> str:
    """An estimate in words, rounded up so that it never promises too much; None for nobody knows."""
    said = words(language)
    if seconds is None:
        return said["time-unknown"]
    if seconds < SOON_S:
        return said["time-soon"]
    if seconds <= SECONDS_UNTIL_S:
        return said["time-seconds"].format(n=10 * math.ceil(seconds / 10))
    minutes = math.ceil(seconds / 60)
    if seconds > MINUTES_UNTIL_S:
        return said["time-hour"]
    return said["time-minutes"].format(n=minutes)


def place(ahead: int, language: Language) -> str:
    """How many stand before somebody, in words."""
    said = words(language)
    if ahead <= 0:
        return said["ahead-none"]
    return said["ahead-one"] if ahead == 1 else said["ahead-many"].format(ahead=ahead)


def queued(language: Language, *, why: Why, ahead: int, seconds: float | None) -> str:
    """One line for somebody in the queue, for the event stream and the log below it.

    Args:
        language: the class's.
        why: what they wait for: their turn, a seat, or to hear what the GPUs are doing.
        ahead: how many stand before them.
        seconds: the estimate; None for nobody knows.
    """
    line = _ONE_LINE[why][_index(language)]
    return line.format(place=place(ahead, language), time=duration(seconds, language))


def _index(language: Language) -> int:
    return 0 if language == "ko" else 1
