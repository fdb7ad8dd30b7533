"""Explains an error about memory: whose limit was reached, and what a student can do. Pure; the text is made here.

PyTorch says the same "CUDA out of memory" whether a seat's own limit or the whole device is full, and a novice reads
the first line. The figures in its text tell the two apart: with ``per_process_memory_fraction`` the allocator refuses
what would take it over "… allowed", otherwise the driver refused because too little "is free". The wording is that of
``c10/cuda/CUDACachingAllocator.cpp``; a test looks for it in the installed library, so that another one is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from gpuclass.seat import Card, gib

_SIZE = r"(\d+(?:\.\d+)?) (bytes|KiB|MiB|GiB)"
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_PHRASES = {
    "tried": rf"(?:Tried to allocate|Requested size:) {_SIZE}",
    "total": rf"has a total capacity of {_SIZE}",
    "free": rf"of which {_SIZE} is free",
    "process": rf"this process has {_SIZE} memory in use",
    "allowed": rf"{_SIZE} allowed; ",
    "allocated": rf"{_SIZE} is allocated by PyTorch",
    "idle": rf"{_SIZE} is reserved by PyTorch but unallocated",
}
_REJECTED = "it would exceed per_process_memory_fraction limit"
_ROUNDING = 0.02  # sizes in the text have two decimals, so a sum of three may be off by so many of the largest unit


class Full(StrEnum):
    """What is full."""

    SEAT = "seat"  # the seat's own share, or all of a device that nobody else uses
    DEVICE = "device"  # the device, though the seat's own share is not
    RAM = "ram"  # the container's main memory
    SHM = "shm"  # /dev/shm, through which DataLoader workers hand over batches


@dataclass(frozen=True)
class Figures:
    """What PyTorch's text says, in bytes; None where it does not say."""

    tried: int | None = None
    total: int | None = None
    free: int | None = None
    process: int | None = None
    allowed: int | None = None
    allocated: int | None = None
    idle: int | None = None

    @property
    def reserved(self) -> int:
        """What PyTorch holds in this notebook, in use or not."""
        return (self.allocated or 0) + (self.idle or 0)


def figures(text: str) -> Figures:
    """The sizes in PyTorch's text."""
    found = {name: re.search(phrase, text) for name, phrase in _PHRASES.items()}
    return Figures(**{name: round(float(at[1]) * _UNITS[at[2]]) for name, at in found.items() if at})


@dataclass(frozen=True)
class Explanation:
    """What a student reads below the traceback.

    Attributes:
        full: what is full.
        title: one sentence.
        facts: figures behind it.
        advice: what to do, easiest first.
    """

    full: Full
    title: str
    facts: tuple[str, ...]
    advice: tuple[str, ...]

    def __repr__(self) -> str:
        facts = [f"  {fact}" for fact in self.facts]
        steps = [f"  {number}. {step}" for number, step in enumerate(self.advice, 1)]
        return "\n".join([self.title, *facts, *steps])

    def _repr_html_(self) -> str:
        from html import escape

        facts = "".join(f"<div>{escape(fact)}</div>" for fact in self.facts)
        steps = "".join(f"<li>{_code(escape(step))}</li>" for step in self.advice)
        return (
            '<div style="border-left:5px solid #ef6c00;padding:6px 12px;margin:4px 0;max-width:50em;'
            'font-family:var(--jp-ui-font-family,sans-serif)">'
            f'<div style="font-weight:bold">{escape(self.title)}</div>'
            f'<div style="opacity:.8">{facts}</div><ol style="margin:6px 0 0;padding-left:1.6em">{steps}</ol></div>'
        )


def _code(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)


def explain(error: BaseException, seat: Card, killed: int = 0) -> Explanation | None:
    """What an error means if it is about memory, else None.

    Args:
        error: what a cell raised; those that it came from are looked at too.
        seat: the seat as it is now.
        killed: how many processes of the container the kernel has killed for memory during the cell.
    """
    for cause in _chain(error):
        full = which(cause, seat, killed)
        if full:
            return _explanation(full, figures(str(cause)), seat)
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    now: BaseException | None = error
    while now is not None and id(now) not in seen:
        seen.add(id(now))
        yield now
        now = now.__cause__ or now.__context__


def which(error: BaseException, seat: Card, killed: int = 0) -> Full | None:
    """What an error says is full; None for an error of another kind. Recognised by name, without importing torch."""
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
    text = str(error)
    if "builtins.MemoryError" in kinds or ("builtins.RuntimeError" in kinds and "DefaultCPUAllocator: " in text):
        return Full.RAM
    if "builtins.RuntimeError" not in kinds:
        return None
    if "DataLoader worker" in text:
        # A bus error is how the kernel says that a tmpfs is full; a killed worker may just have been interrupted.
        return Full.SHM if "Bus error" in text or "shared memory" in text else Full.RAM if killed else None
    if "torch.OutOfMemoryError" in kinds:
        return _seat_or_device(text, seat)
    if "CUDA error: out of memory" in text or "CUBLAS_STATUS_ALLOC_FAILED" in text:
        return _without_figures(seat)
    return None


def _seat_or_device(text: str, seat: Card) -> Full:
    if _REJECTED in text:
        return Full.SEAT
    said = figures(text)
    if said.allowed is not None and said.tried is not None:
        wanted = said.reserved + said.tried
        return Full.SEAT if wanted >= said.allowed - _ROUNDING * _unit(said.allowed) else Full.DEVICE
    if seat.alone or said.total is None:
        return _without_figures(seat)
    # Several seats, and the limit is the driver's (MPS): what it refuses within the share, the device did not have.
    return Full.SEAT if (said.process or said.reserved) + (said.tried or 0) > seat.memory else Full.DEVICE


def _unit(size: int) -> int:
    return max(unit for unit in _UNITS.values() if unit <= max(1, size))


def _without_figures(seat: Card) -> Full:
    if seat.alone or not seat.memory or seat.used is None:
        return Full.SEAT if seat.alone else Full.DEVICE
    return Full.SEAT if seat.used > 0.9 * seat.memory else Full.DEVICE  # what was asked for is not known


def _explanation(full: Full, said: Figures, seat: Card) -> Explanation:
    texts = TEXTS.get(seat.language, TEXTS["en"])
    facts = []
    if full in {Full.SEAT, Full.DEVICE}:
        limit = said.allowed or seat.memory or said.total or 0
        if said.tried is not None:
            facts.append(texts["tried"].format(size=_human(said.tried)))
        if said.allocated is not None:
            facts.append(texts["held"].format(size=_human(said.reserved), limit=gib(limit)))
        others = (seat.used or 0) - (said.process or said.reserved)
        if others > 0.05 * limit > 0 and said.reserved:
            facts.append(texts["others"].format(size=gib(others)))
        if full is Full.DEVICE and said.total and said.free is not None:
            facts.append(texts["free"].format(total=gib(said.total), free=_human(said.free)))
    elif seat.ram:
        facts.append(texts["ram used"].format(used=gib(seat.ram.used), limit=gib(seat.ram.limit)))
    alone = " alone" if full is Full.SEAT and seat.alone else ""
    return Explanation(
        full, f"{texts['help']}: {texts[full + alone]}", tuple(facts), tuple(texts[f"{full} advice"].splitlines())
    )


def _human(size: int) -> str:
    return gib(size) if size >= 2**30 else f"{size / 2**20:.0f} MiB"


TEXTS = {
    "ko": {
        "help": "도움말",
        "seat": "내 자리의 GPU 메모리 한도에 닿았어요. GPU 전체가 가득 찬 것은 아니에요.",
        "seat alone": "내 자리의 GPU 메모리를 모두 썼어요.",
        "device": "GPU 전체의 메모리가 가득 찼어요. 내 한도는 아직 남아 있어요.",
        "ram": "GPU가 아니라 메모리(RAM)가 부족해요.",
        "shm": "DataLoader의 일꾼(worker)들이 함께 쓰는 메모리(/dev/shm)가 가득 찼어요.",
        "tried": "이번에 더 달라고 한 것: {size}",
        "held": "이 노트북이 쓰고 있는 것: {size} (한도 {limit})",
        "others": "내가 켜 둔 다른 노트북이 쓰고 있는 것: {size}",
        "ram used": "쓰고 있는 메모리(RAM): {used} (한도 {limit})",
        "free": "GPU 전체 {total} 중에서 남은 것: {free}",
        "ram advice": """한 번에 읽는 데이터를 줄여요. 모두 리스트에 담지 말고 필요한 만큼만 읽어요.
쓰지 않는 큰 변수는 `del 이름`으로 지우고, 다른 노트북은 커널을 꺼요 (왼쪽 ■ 탭).
`DataLoader`의 `num_workers`를 줄여요.
그래도 같으면 위쪽의 ↻(커널 다시 시작)를 누르고 위에서부터 다시 실행해요.""",
        "shm advice": """`DataLoader`의 `num_workers`를 1이나 0으로 줄여요.
배치 크기(`batch_size`)를 반으로 줄여요.
다른 노트북에서 도는 학습이 있으면 그 커널을 꺼요 (왼쪽 ■ 탭).""",
        "seat advice": """배치 크기(`batch_size`)를 반으로 줄여서 다시 실행해요.
다른 노트북을 켜 두었다면 그 커널을 꺼요 (왼쪽 ■ 탭). 내 노트북들은 한도를 함께 써요.
평가할 때는 `with torch.no_grad():` 안에서 하고, 손실은 `loss.item()`으로 모아요.
그래도 같으면 위쪽의 ↻(커널 다시 시작)를 누르고 위에서부터 다시 실행해요.""",
        "device advice": """내 코드의 잘못이 아닐 수 있어요. 잠깐 기다렸다가 다시 실행해요.
두 번 더 해도 같으면 이 화면을 선생님께 보여 주세요.
기다리는 동안 배치 크기(`batch_size`)를 줄여서 작게 해 볼 수 있어요.""",
    },
    "en": {
        "help": "Help",
        "seat": "Your seat's GPU memory limit is reached. The GPU as a whole is not full.",
        "seat alone": "All the GPU memory of your seat is in use.",
        "device": "The GPU as a whole is full. Your own limit is not reached.",
        "ram": "This is not about the GPU: main memory (RAM) is short.",
        "shm": "The memory that DataLoader workers share (/dev/shm) is full.",
        "tried": "asked for now: {size}",
        "held": "held by this notebook: {size} (limit {limit})",
        "others": "held by your other notebooks: {size}",
        "ram used": "main memory in use: {used} (limit {limit})",
        "free": "free of the GPU's {total}: {free}",
        "ram advice": """Read less data at once: not everything into a list, only what is needed.
Delete large variables with `del name`, and shut down the kernels of other notebooks (the ■ tab on the left).
Lower `num_workers` of your `DataLoader`.
If it stays so, press ↻ (restart the kernel) and run from the top.""",
        "shm advice": """Lower `num_workers` of your `DataLoader` to 1 or 0.
Halve the `batch_size`.
Shut down kernels of other notebooks that are training (the ■ tab on the left).""",
        "seat advice": """Halve the `batch_size` and run again.
Shut down the kernels of other notebooks (the ■ tab on the left): all your notebooks share one limit.
Evaluate within `with torch.no_grad():` and collect losses with `loss.item()`.
If it stays so, press ↻ (restart the kernel) and run from the top.""",
        "device advice": """It may not be your code. Wait a moment and run the cell again.
If it fails twice more, show this to your teacher.
Meanwhile a smaller `batch_size` may fit.""",
    },
}
