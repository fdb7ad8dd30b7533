"""Kill what can be killed while a student works; the student must not notice."""

import asyncio
import os
import signal
import subprocess

from gpuclass.rehearsal import Visitor
from tests.classroom.conftest import OpenClass


def pid_of(name: str, *, port: int) -> int:
    listing = subprocess.run(["ss", "-ltnpH", f"sport = :{port}"], capture_output=True, text=True).stdout
    assert "pid=" in listing, f"{name} does not listen on {port}: {listing}"
    return int(listing.split("pid=")[1].split(",")[0])


async def test_killing_the_hub_touches_no_kernel_and_no_other_process(classroom: OpenClass) -> None:
    site = classroom.settings.site
    ports = {"proxy": site.port, "exchange": site.exchange_port}
    async with classroom.visitor("s001") as student:
        await student.log_in()
        await student.start_server()
        async with student.kernel() as kernel:
            assert (await kernel.run("x = 41")).error == ""
            before = {name: pid_of(name, port=port) for name, port in ports.items()}
            hub = pid_of("hub", port=site.hub_port)
            os.kill(hub, signal.SIGKILL)
            # the WebSocket goes through the proxy, not through the hub: the same connection must still serve
            assert (await kernel.run("x + 1")).value == "42"
            await until_the_hub_answers(student)
            assert pid_of("hub", port=site.hub_port) != hub
            assert {name: pid_of(name, port=port) for name, port in ports.items()} == before
            async with student.connected(kernel.id) as again:
                assert (await again.run("x + 2")).value == "43"
        model = await student.call("GET", f"{student.hub}/api/users/s001")
        assert model["servers"][""]["ready"] is True
        await student.stop_server()


async def until_the_hub_answers(student: Visitor, timeout_s: float = 40) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            if (await student.request("GET", f"{student.hub}/api/")).status_code == 200:
                return
            await asyncio.sleep(0.3)
