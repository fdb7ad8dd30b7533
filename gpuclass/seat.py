"""What a student sees of their seat, inside the container: ``seat()`` in every notebook.

The seat comes from the variable that the spawner sets, the memory in use from the watch's file, which is mounted
read-only. Everything here also works without a GPU, without a seat and without the watch. torch and matplotlib are
used where the notebook has imported them, and never imported for this.
"""

from __future__ import annotations

import html
import itertools
import json
import os
import sys
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuclass import cgroup

NOTICES = Path("/run/gpuclass")
GIB = 2**30
LINE_WIDTH = 72  # of the drawn card, in Latin letters
FRESH_S = 60.0  # the watch measures every two seconds; a file older than this tells nothing about memory

WORDS = {
    "ko": {
        "title": "내 자리",
        "gpu seat": "GPU 자리",
        "cpu seat": "CPU 자리",
        "no gpu": "없음 (이 수업은 CPU로도 할 수 있어요)",
        "share": "나눔",
        "whole": "GPU 하나를 혼자 써요",
        "instance": "MIG 조각 하나를 혼자 써요",
        "shares": "GPU 하나를 {of}자리로 나눈 것 중 {shares}자리",
        "gpu memory": "GPU 메모리",
        "used": "{limit} 중 {used} 쓰는 중",
        "of device": " (GPU 전체는 {device})",
        "limit": "한도",
        "cores": "CPU 코어",
        "core": "{cpus:g}개",
        "ram": "메모리(RAM)",
        "hardware": "하드웨어가 지켜요. 남의 것을 쓸 수도, 내 것을 뺏길 수도 없어요",
        "driver": "GPU 드라이버가 지켜요. 넘기면 그 셀에서 오류가 나요",
        "watchdog": "PyTorch가 막고, 감시 프로그램이 지켜봐요. 계속 넘기면 알린 뒤에 셀을 멈춰요",
        "unseen": "자리에는 GPU가 있는데 PyTorch가 찾지 못해요. 선생님께 이 화면을 보여 주세요.",
    },
    "en": {
        "title": "My seat",
        "gpu seat": "GPU seat",
        "cpu seat": "CPU seat",
        "no gpu": "none (the lessons also work on the CPU)",
        "share": "Share",
        "whole": "a whole GPU of your own",
        "instance": "a MIG instance of your own",
        "shares": "{shares} of the {of} seats on one GPU",
        "gpu memory": "GPU memory",
        "used": "{used} of {limit} in use",
        "of device": " (the GPU has {device})",
        "limit": "Limit",
        "cores": "CPU cores",
        "core": "{cpus:g}",
        "ram": "Memory (RAM)",
        "hardware": "held by the hardware: you cannot take a neighbour's, nor lose yours",
        "driver": "held by the GPU driver: a cell that asks for more gets an error",
        "watchdog": "PyTorch refuses more and a watchdog looks: who stays over is told, then their cells are stopped",
        "unseen": "This seat has a GPU, but PyTorch does not find it. Please show this to your teacher.",
    },
}
"""Texts by language; the keys of the limits are those of gpuclass.gpus.model.Enforcement."""


@dataclass(frozen=True)
class Card:
    """A seat at one moment. Shown as a card at the end of a cell, as text by ``print``.

    Attributes:
        gpu: whether it has a GPU.
        device: the GPU's name; empty without one.
        memory, device_memory: bytes of GPU memory that the seat may use, and that the device has; 0 where unknown.
        used: bytes of GPU memory in use by all notebooks of the seat; None where nobody has measured.
        mode, enforcement: how GPUs are divided and who holds the limit; see gpuclass.gpus.model.
        shares, of: this many seats of those on the device.
        ram: main memory.
        cpus: cores.
        torch: version of PyTorch where the notebook has imported it.
        unseen: the seat has a GPU and PyTorch does not find it.
        language: "ko" or "en".
    """

    gpu: bool
    device: str = ""
    memory: int = 0
    device_memory: int = 0
    used: int | None = None
    mode: str = ""
    enforcement: str = ""
    shares: int = 1
    of: int = 1
    ram: cgroup.Memory | None = None
    cpus: float = 1.0
    torch: str = ""
    unseen: bool = False
    language: str = "ko"

    @property
    def words(self) -> dict[str, str]:
        """Texts in the card's language."""
        return WORDS.get(self.language, WORDS["en"])

    @property
    def title(self) -> str:
        """What kind of seat it is."""
        return self.words["gpu seat" if self.gpu else "cpu seat"]

    @property
    def alone(self) -> bool:
        """Whether nobody else may use the device."""
        return self.shares == self.of

    @property
    def rows(self) -> list[tuple[str, str]]:
        """What there is to say, as names and values."""
        words = self.words
        if not self.gpu:
            rows = [("GPU", words["no gpu"])]
        else:
            rows = [("GPU", self.device)]
            kind = "instance" if self.mode == "mig" else "whole" if self.alone else "shares"
            if self.mode:
                rows.append((words["share"], words[kind].format(shares=self.shares, of=self.of)))
            if self.memory:
                shared = "" if self.alone else words["of device"].format(device=gib(self.device_memory))
                rows.append((words["gpu memory"], self._use(self.used, self.memory) + shared))
            if self.enforcement in words:
                rows.append((words["limit"], words[self.enforcement]))
        rows.append((words["cores"], words["core"].format(cpus=self.cpus)))
        if self.ram:
            rows.append((words["ram"], self._use(self.ram.used, self.ram.limit)))
        if self.torch:
            rows.append(("PyTorch", self.torch))
        return rows

    def _use(self, used: int | None, limit: int) -> str:
        return gib(limit) if used is None else self.words["used"].format(used=gib(used), limit=gib(limit))

    def __repr__(self) -> str:
        lines = [f"{self.words['title']}: {self.title}", *(f"  {name}: {value}" for name, value in self.rows)]
        return "\n".join([*lines, *([self.words["unseen"]] if self.unseen else [])])

    def _repr_html_(self) -> str:
        """The card, in Lab's own colours where Lab shows it."""
        colour = "#2e7d32" if self.gpu else "#1565c0"
        cell = "padding:3px 12px;text-align:left;vertical-align:top;background:none"
        rows = "".join(
            f'<tr style="background:none"><td style="{cell};opacity:.7;white-space:nowrap">{html.escape(name)}</td>'
            f'<td style="{cell}">{html.escape(value)}</td></tr>'
            for name, value in self.rows
        )
        if self.unseen:
            rows += f'<tr style="background:none"><td colspan="2" style="{cell}">⚠ {self.words["unseen"]}</td></tr>'
        return (
            f'<div style="display:inline-block;max-width:44em;border:2px solid {colour};border-radius:8px">'
            f'<div style="background:{colour};color:white;padding:6px 12px;font-size:1.15em">'
            f"{self.words['title']}: {self.title}</div>"
            f'<table style="margin:6px 0;border:none">{rows}</table></div>'
        )

    def draw(self) -> None:
        """The card as a picture."""
        import matplotlib.pyplot as plt
        from matplotlib.patches import FancyBboxPatch

        colour = "#2e7d32" if self.gpu else "#1565c0"
        lines = []
        for name, value in self.rows:
            names = itertools.chain([name], itertools.repeat(""))
            lines += list(zip(names, _wrapped(value), strict=False))
        if self.unseen:
            lines += [(line, "") for line in _wrapped(f"⚠ {self.words['unseen']}", LINE_WIDTH + 16)]
        top = len(lines) + 0.7
        _figure, axes = plt.subplots(figsize=(8, 0.4 * len(lines) + 1))
        axes.set(xlim=(0, 10), ylim=(0, top + 1.3))
        axes.axis("off")
        box = {"boxstyle": "round,pad=0.1,rounding_size=0.3", "linewidth": 2, "edgecolor": colour}
        axes.add_patch(FancyBboxPatch((0.2, 0.3), 9.6, top + 0.6, facecolor="white", **box))
        axes.add_patch(FancyBboxPatch((0.2, top), 9.6, 0.9, facecolor=colour, **box))
        title = f"{self.words['title']}: {self.title}"
        axes.text(0.5, top + 0.45, title, color="white", fontsize=14, va="center")
        for row, (name, value) in enumerate(lines):
            height = top - row - 0.75
            axes.text(0.5, height, name, color="#555555", fontsize=10, va="center")
            axes.text(2.3, height, value, fontsize=10, va="center")
        plt.show()


def seat() -> Card:
    """내 자리: GPU와 메모리를 얼마나 쓸 수 있고, 지금 얼마나 쓰는지. / Your seat: GPU, memory, limit, in use."""
    return read()


def read(
    environ: Mapping[str, str] = os.environ,
    notices: Path = NOTICES,
    cgroups: Path = cgroup.CGROUPS,
    modules: Mapping[str, Any] = sys.modules,
) -> Card:
    """The seat of this container.

    Args:
        environ: where the spawner says what the seat is.
        notices: folder with the watch's file.
        cgroups: where the container's limits are.
        modules: what the notebook has imported.
    """
    said = declared(environ)
    torch = modules.get("torch")
    cuda = torch is not None and torch.cuda.is_available()
    gpu = bool(said.get("gpu")) or cuda
    card: dict[str, Any] = {}
    if said.get("gpu"):
        card = {name: said[name] for name in _FIELDS if name in said}
    elif cuda:  # a class without the broker
        seen = torch.cuda.get_device_properties(0)  # type: ignore[union-attr]  # cuda is true only with torch
        card = {"device": seen.name, "memory": seen.total_memory, "device_memory": seen.total_memory}
    return Card(
        gpu=gpu,
        **card,
        used=gpu_memory_used(notices) if gpu else None,
        ram=cgroup.memory(cgroups),
        cpus=cgroup.cpus(cgroups),
        torch=str(torch.__version__) if torch is not None else "",
        unseen=gpu and torch is not None and not cuda,
        language=environ.get("GPUCLASS_LANGUAGE", "ko"),
    )


_FIELDS = ("device", "memory", "device_memory", "mode", "enforcement", "shares", "of")


def declared(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """What the spawner says of the seat; empty when it says nothing or nothing that can be read."""
    try:
        said = json.loads(environ.get("GPUCLASS_SEAT", "{}"))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def gpu_memory_used(notices: Path = NOTICES, now: float | None = None) -> int | None:
    """Bytes of GPU memory that all notebooks of the seat hold, as the watch measured lately; None when it did not."""
    try:
        said = json.loads((notices / "watch.json").read_text(encoding="utf-8"))
        used, at = said["memory"]["used"], float(said["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fresh = (time.time() if now is None else now) - at <= FRESH_S
    return used if fresh and isinstance(used, int) else None


def _wrapped(text: str, line_width: int = LINE_WIDTH) -> list[str]:
    """Lines that fit the picture; a Korean letter is wider than a Latin one."""
    lines, width = [""], 0.0
    for word in text.split(" "):
        wide = sum(1.7 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in word) + 1
        if width + wide > line_width and width:
            lines, width = [*lines, ""], 0.0
        lines[-1] += f" {word}" if width else word
        width += wide
    return lines


def gib(size: int) -> str:
    """A size for people.

    >>> gib(10 * 2**30), gib(300 * 2**20)
    ('10.0 GiB', '0.3 GiB')
    """
    return f"{size / GIB:.1f} GiB"
