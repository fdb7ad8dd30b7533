"""Which errors are about memory, whose limit it is, and what is said; without torch, GPU or container."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuclass.cgroup import Memory
from gpuclass.memoryerrors import TEXTS, Explanation, Figures, Full, explain, figures
from gpuclass.seat import Card

GIB = 2**30
SHARED = Card(True, "H100", 19 * GIB, 80 * GIB, mode="shared", enforcement="watchdog", shares=1, of=4)
WHOLE = Card(True, "H100", 80 * GIB, 80 * GIB, mode="exclusive", enforcement="hardware")
MPS = Card(True, "H100", 19 * GIB, 80 * GIB, mode="mps", enforcement="driver", shares=1, of=4)
CPU = Card(False, ram=Memory(3 * GIB, 4 * GIB, 0))


class OutOfMemoryErrorDouble(RuntimeError):  # noqa: N818 - a double says so last
    """Recognised by name, as torch's own is; tests/images raises torch's."""


OutOfMemoryErrorDouble.__module__, OutOfMemoryErrorDouble.__name__ = "torch", "OutOfMemoryError"


def pytorch_size(size: int) -> str:
    """As format_size in c10/cuda/CUDACachingAllocator.cpp writes it."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size > unit:
            return f"{size / unit:.2f} {name}"
    return f"{size} bytes"


def pytorch_text(
    *,
    tried: int,
    free: int,
    held: int,
    idle: int = 0,
    allowed: int | None = None,
    total: int = 80 * GIB,
    own: bool = True,
) -> str:
    """The text of torch 2.14; tests/images looks for its pieces in the library."""
    process = f"Including non-PyTorch memory, this process has {pytorch_size(held + idle + GIB // 2)} memory in use. "
    return (
        f"CUDA out of memory. Tried to allocate {pytorch_size(tried)}. GPU 0 has a total capacity of "
        f"{pytorch_size(total)} of which {pytorch_size(free)} is free. {process if own else ''}"
        f"{f'{pytorch_size(allowed)} allowed; ' if allowed else ''}Of the allocated memory {pytorch_size(held)} is "
        f"allocated by PyTorch, and {pytorch_size(idle)} is reserved by PyTorch but unallocated. If reserved but "
        "unallocated memory is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid "
        "fragmentation.  See documentation for Memory Management  (https://docs.pytorch.org/docs/stable/notes/cuda.html"
        "#optimizing-memory-usage-with-pytorch-cuda-alloc-conf)"
    )


def explained(text: str, seat: Card = SHARED, killed: int = 0) -> Explanation | None:
    return explain(OutOfMemoryErrorDouble(text), seat, killed)


def full(text: str, seat: Card = SHARED) -> Full | None:
    explanation = explained(text, seat)
    return explanation.full if explanation else None


def test_pytorchs_figures_are_read() -> None:
    text = pytorch_text(tried=300 * 2**20, free=5 * GIB, held=18 * GIB, idle=512, allowed=19 * GIB)
    assert figures(text) == Figures(
        tried=300 * 2**20,
        total=80 * GIB,
        free=5 * GIB,
        process=figures(text).process,
        allowed=19 * GIB,
        allocated=18 * GIB,
        idle=512,
    )
    assert figures(text).process == pytest.approx(18.5 * GIB, abs=GIB / 100)
    assert figures("something else") == Figures()


def test_beyond_the_fraction_it_is_the_seat_though_the_gpu_has_room() -> None:
    assert full(pytorch_text(tried=2 * GIB, free=50 * GIB, held=18 * GIB, allowed=19 * GIB)) is Full.SEAT


def test_within_the_fraction_it_is_the_device() -> None:
    assert full(pytorch_text(tried=2 * GIB, free=GIB, held=4 * GIB, allowed=19 * GIB)) is Full.DEVICE


def test_a_rejection_before_the_driver_was_asked_is_the_seat() -> None:
    text = "CUDA out of memory. Allocation was preemptively rejected because it would exceed per_process_memory_fraction limit. Requested size: 3.00 GiB"  # noqa: E501 - torch's text in one piece
    explanation = explained(text)
    assert explanation
    assert explanation.full is Full.SEAT
    assert "3.0 GiB" in str(explanation)


@given(
    allowed=st.integers(2**20, 80 * GIB),
    held=st.integers(1, 80 * GIB),
    idle=st.integers(0, GIB),
    tried=st.integers(2**20, 80 * GIB),
    own=st.booleans(),
)
def test_the_seat_is_named_exactly_when_the_fraction_refused(
    allowed: int, held: int, idle: int, tried: int, own: bool
) -> None:
    over = held + idle + tried - allowed
    if abs(over) < 0.03 * GIB:
        return  # two decimals of GiB do not tell
    said = full(pytorch_text(tried=tried, free=0, held=held, idle=idle, allowed=allowed, own=own))
    assert said is (Full.SEAT if over > 0 else Full.DEVICE)


def test_on_a_device_of_ones_own_full_is_the_seat() -> None:
    explanation = explained(pytorch_text(tried=2 * GIB, free=GIB, held=78 * GIB), WHOLE)
    assert explanation
    assert explanation.full is Full.SEAT
    assert explanation.title == f"도움말: {TEXTS['ko']['seat alone']}"


@pytest.mark.parametrize(("held", "expected"), [(18, Full.SEAT), (4, Full.DEVICE)])
def test_under_mps_the_share_decides(held: int, expected: Full) -> None:
    assert full(pytorch_text(tried=2 * GIB, free=GIB, held=held * GIB), MPS) is expected


@pytest.mark.parametrize(
    ("used", "seat", "expected"),
    [
        (18 * GIB, SHARED, Full.SEAT),
        (2 * GIB, SHARED, Full.DEVICE),
        (None, SHARED, Full.DEVICE),
        (None, WHOLE, Full.SEAT),
    ],
)
def test_without_figures_the_watch_decides(used: int | None, seat: Card, expected: Full) -> None:
    for text in (
        "CUDA error: out of memory\nCUDA kernel errors might be…",
        "CUBLAS_STATUS_ALLOC_FAILED when calling x",
    ):
        explanation = explain(RuntimeError(text), replace(seat, used=used))
        assert explanation
        assert explanation.full is expected


def test_what_other_notebooks_of_the_seat_hold_is_said() -> None:
    seat = replace(SHARED, used=15 * GIB)
    explanation = explained(pytorch_text(tried=12 * GIB, free=50 * GIB, held=8 * GIB, allowed=19 * GIB), seat)
    assert "다른 노트북이 쓰고 있는 것: 6.5 GiB" in str(explanation)
    assert "다른 노트북이 쓰고" not in str(
        explained(pytorch_text(tried=12 * GIB, free=0, held=8 * GIB, allowed=19 * GIB))
    )


def test_main_memory_is_told_from_the_gpus() -> None:
    allocator = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."  # noqa: E501 - torch's text in one piece
    for error in (MemoryError("Unable to allocate 9.1 TiB"), RuntimeError(allocator)):
        explanation = explain(error, CPU)
        assert explanation
        assert explanation.full is Full.RAM
        assert "한도 4.0 GiB" in str(explanation)


def test_a_worker_that_ran_out_of_shared_memory_is_told_from_a_killed_one() -> None:
    bus = "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory."  # noqa: E501 - torch's text in one piece
    explanation = explain(RuntimeError(bus), CPU)
    assert explanation
    assert explanation.full is Full.SHM
    killed = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
    assert explain(killed, CPU, killed=0) is None, "somebody else killed it"
    assert (found := explain(killed, CPU, killed=1))
    assert found.full is Full.RAM


def test_an_error_that_another_one_wraps_is_found() -> None:
    outer = RuntimeError("training failed")
    outer.__cause__ = OutOfMemoryErrorDouble(pytorch_text(tried=GIB, free=0, held=GIB, allowed=GIB))
    assert explain(outer, SHARED)


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: device-side assert"), ValueError("out of memory"), KeyError(1)]
)
def test_other_errors_are_left_alone(error: Exception) -> None:
    error.__cause__ = error.__context__ = error  # and a circle ends
    assert explain(error, SHARED) is None


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("kind", Full)
def test_every_explanation_says_what_to_do(language: str, kind: Full) -> None:
    assert len(TEXTS[language][f"{kind} advice"].splitlines()) >= 3
    assert TEXTS[language].keys() == TEXTS["ko"].keys()


def test_the_page_shows_code_as_code_and_nothing_as_html() -> None:
    page = Explanation(Full.SEAT, "<b>", ("1 < 2",), ("`a < b`",))._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<code>a &lt; b</code>" in page
