"""What each mode isolates and what not, in the words of `gpuclass gpus` and of docs/explanation/gpu-modes.md."""

from __future__ import annotations

from dataclasses import dataclass

from gpuclass.gpus.model import Mode


@dataclass(frozen=True)
class Guarantee:
    """One mode's promises, each a sentence.

    Attributes:
        memory: whether a neighbour can take this seat's GPU memory.
        faults: whether a neighbour's error can end this seat's work.
        time: whether a neighbour can make this seat slow.
        data: whether a neighbour can read what this seat has in GPU memory.
    """

    memory: str
    faults: str
    time: str
    data: str


GUARANTEES = {
    Mode.EXCLUSIVE: Guarantee(
        memory="Held by hardware: the whole GPU is the seat's.",
        faults="One seat's errors end nobody else's work.",
        time="The whole GPU's time is the seat's.",
        data="Nobody else is on the GPU while the seat is held.",
    ),
    Mode.MIG: Guarantee(
        memory="Held by hardware: each instance has memory of its own.",
        faults="One seat's errors end nobody else's work; a failure of the whole GPU ends all of its seats.",
        time="Held by hardware: each instance has compute units, cache and memory bandwidth of its own.",
        data="Kept apart by hardware.",
    ),
    Mode.SHARED: Guarantee(
        memory="Held by agreement (PyTorch keeps to its share) and by the watchdog, which acts only after too much was "
        "taken: for some seconds a greedy seat can make a neighbour run out of memory.",
        faults="A program's own error ends only that program; a failure of the whole GPU ends all its seats' work.",
        time="Not held: programs take turns, and a busy neighbour makes everybody on the GPU slower.",
        data="Kept apart by the driver: each program has an address space of its own.",
    ),
    Mode.MPS: Guarantee(
        memory="Held by the driver where the GPU takes MPS clients only (EXCLUSIVE_PROCESS), and for each program: a "
        "seat with two notebooks at work can take its share twice.",
        faults="Not held: one seat's fatal error (a bad address, say) ends the GPU work of every seat on that GPU, and "
        "new work waits until all of them have restarted their notebooks.",
        time="Not held: programs run side by side, and a busy neighbour makes everybody on the GPU slower.",
        data="Kept apart by the driver in GPU memory, but /dev/shm is one for all seats of the GPU: what a notebook "
        "has there, such as a DataLoader's batches, neighbours can read and change.",
    ),
}
"""By mode; `Mode.OFF` promises nothing."""
