"""What Docker is asked for, and how the host deals with an agent that misbehaves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import docker
import pytest

from gpuclass.grader import wire
from gpuclass.grader.sandbox import Limits, Lost, Reason, Sandbox, request
from gpuclass.settings import GradingSection

LIMITS = Limits(cpus=1.5, memory=2**31, tmp=2**28, processes=128, cell_timeout=5.0, timeout=60.0, output=1000)


def test_limits_are_those_of_the_settings() -> None:
    limits = Limits.of(GradingSection.model_validate({"memory": "3G", "cell_timeout": "7s"}))
    assert limits.memory == 3 * 2**30
    assert limits.cell_timeout == 7.0


def test_the_whole_request_for_a_sandbox() -> None:
    assert request("image:tag", LIMITS, name="n", owner="me", expires=1.9) == {
        "image": "image:tag",
        "entrypoint": ["prepare-tmp"],
        "command": ["python", "-I", "/opt/gpuclass/zygote.py", "agent"],
        "name": "n",
        "labels": {"gpuclass.sandbox": "me", "gpuclass.expires": "1"},
        "user": "1000:1000",
        "working_dir": "/tmp",
        "stdin_open": True,
        "stop_signal": "SIGKILL",
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "tmpfs": {"/tmp": "rw,nosuid,nodev,noexec,size=268435456,nr_inodes=20000,mode=1777"},
        "shm_size": 2**28,
        "mem_limit": 2**31,
        "memswap_limit": 2**31,
        "nano_cpus": 1_500_000_000,
        "pids_limit": 128,
        "ulimits": [
            docker.types.Ulimit(name="core", soft=0, hard=0),
            docker.types.Ulimit(name="nofile", soft=1024, hard=1024),
        ],
        "log_config": docker.types.LogConfig(type="none"),
        "environment": {
            "HOME": "/tmp",
            "IPYTHONDIR": "/tmp/ipython",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "NVIDIA_VISIBLE_DEVICES": "void",
            "OMP_NUM_THREADS": "2",
            "MKL_NUM_THREADS": "2",
            "OPENBLAS_NUM_THREADS": "2",
        },
    }


class Script:
    """An agent that says what it was told to; time passes with each piece it sends."""

    def __init__(self, replies: Iterable[object], seconds_per_piece: float = 0.0) -> None:
        self.replies = iter(replies)
        self.pieces: Iterator[bytes] = iter(())
        self.seconds = seconds_per_piece
        self.now = 0.0
        self.asked: dict[str, Any] = {}
        self.closed = False

    def clock(self) -> float:
        return self.now

    def send(self, data: bytes, deadline: float) -> None:
        self.asked = json.loads(data[4:])
        reply = next(self.replies)
        if isinstance(reply, dict) and "outputs" in reply:
            reply = {"id": self.asked["id"], **reply}
        data = reply if isinstance(reply, bytes) else wire.encode(reply)
        self.pieces = iter([data[i : i + 7] for i in range(0, len(data), 7)])

    def receive(self, deadline: float) -> bytes:
        self.now += self.seconds
        if self.now > deadline:
            raise TimeoutError
        return next(self.pieces, b"")

    def why_closed(self) -> Reason:
        return "memory"

    def close(self) -> None:
        self.closed = True


def started(*replies: object, seconds_per_piece: float = 0.0) -> tuple[Sandbox, Script]:
    script = Script([{"ready": True}, *replies])
    sandbox = Sandbox(script, LIMITS, script.clock)
    sandbox.start({})
    script.seconds = seconds_per_piece
    return sandbox, script


FINE = {"ok": True, "outputs": []}


def test_a_cell_goes_out_and_its_outputs_come_back() -> None:
    sandbox, script = started({"ok": True, "outputs": [{"type": "stream", "name": "stdout", "text": "hi"}]})
    run = sandbox.run("print('hi')")
    assert run.outputs[0].text == "hi"
    assert script.asked["source"] == "print('hi')"
    assert script.asked["seconds"] == 5.0


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", "memory"),
        (b"\x00\x00\x00\x10{", "memory"),
        (b"\xff\xff\xff\xff", "output"),
        (wire.LENGTH.pack(2) + b"[]", "garbled"),
        (wire.LENGTH.pack(3) + b"abc", "garbled"),
        ({"id": "another", **FINE}, "garbled"),
        ({"outputs": [], "ok": "yes"}, "garbled"),
    ],
    ids=repr,
)
def test_an_agent_that_breaks_the_rules_is_lost_for_good(reply: object, reason: str) -> None:
    sandbox, script = started(reply, FINE)
    with pytest.raises(Lost) as caught:
        sandbox.run("1")
    assert caught.value.reason == reason
    script.asked = {}
    with pytest.raises(Lost):
        sandbox.run("2")
    assert script.asked == {}, "a lost sandbox must never be asked again"


def test_a_trickle_does_not_extend_the_deadline() -> None:
    sandbox, script = started(
        {"ok": True, "outputs": [{"type": "stream", "name": "stdout", "text": "x" * 500}]}, seconds_per_piece=1.0
    )
    with pytest.raises(Lost) as caught:
        sandbox.run("1")
    assert caught.value.reason == "timeout"
    assert script.now < 10


def test_the_whole_notebook_has_a_time_limit() -> None:
    sandbox, script = started(FINE, FINE)
    sandbox.run("1")
    script.now += 58
    sandbox.run("2")
    assert script.asked["seconds"] < 5, "the last cell gets what is left"
    script.now += 5
    with pytest.raises(Lost, match="total"):
        sandbox.run("3")


def test_output_of_a_whole_notebook_is_limited() -> None:
    sandbox, script = started(
        *[{"ok": True, "outputs": [{"type": "stream", "name": "stdout", "text": "x" * 900}]}] * 20
    )
    for _ in range(12):
        sandbox.run("1")
    assert script.asked["limit"] == 0


def test_leaving_the_block_closes_the_sandbox_whatever_happened() -> None:
    sandbox, script = started(b"")
    with pytest.raises(Lost), sandbox:
        sandbox.run("1")
    assert script.closed
