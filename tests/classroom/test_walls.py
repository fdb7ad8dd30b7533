"""From inside a student's container, everything that a student must not reach is tried.

Each probe is code that the student runs in a cell of their own notebook; it prints what became of the attempt. Where it
can be shown, the same attempt succeeds from where it may, so that a probe that cannot work does not pass for a wall.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import docker
import pytest

from gpuclass.roles import missing_scopes, server_token_scopes
from tests.classroom.conftest import OpenClass
from tests.classroom.inside import Inside


@contextmanager
def listening(address: str = "0.0.0.0") -> Iterator[int]:  # noqa: S104  # as careless as a program on the host may be
    """A listener on this machine; its port."""
    with socket.create_server((address, 0)) as server:
        threading.Thread(target=accept_all, args=(server,), daemon=True).start()
        yield server.getsockname()[1]


def accept_all(server: socket.socket) -> None:
    while True:
        try:
            server.accept()[0].close()
        except OSError:
            return


@contextmanager
def stand_in(address: str) -> Iterator[None]:
    """This machine answers for an address that belongs to something else on a real network."""
    subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
    try:
        yield
    finally:
        subprocess.run(["ip", "addr", "del", f"{address}/32", "dev", "lo"], check=True)


def host_addresses() -> list[str]:
    """Addresses of this machine that are not loopback."""
    listed = json.loads(subprocess.run(["ip", "-j", "-4", "addr"], capture_output=True, text=True, check=True).stdout)
    return [info["local"] for link in listed for info in link["addr_info"] if not info["local"].startswith("127.")]


async def test_the_hub_and_the_exchange_are_reached(inside: Inside, classroom: OpenClass) -> None:
    settings = classroom.settings
    for port in (settings.site.hub_port, settings.site.exchange_port):
        assert (await inside.tries(f"tcp('{settings.gateway}', {port})"))["became"] == "open"


async def test_no_other_port_of_the_machine_is_reached_by_any_of_its_addresses(inside: Inside) -> None:
    with listening() as port:
        for address in host_addresses():
            socket.create_connection((address, port), 2).close()  # the machine itself reaches it
            found = await inside.tries(f"tcp('{address}', {port})")
            assert found["became"] != "open", address


async def test_the_proxy_is_not_reached_around_the_walls(inside: Inside, classroom: OpenClass) -> None:
    settings = classroom.settings
    for port in (settings.site.port, settings.site.proxy_api_port):
        assert (await inside.tries(f"tcp('{settings.gateway}', {port})"))["became"] != "open"


async def test_another_students_container_is_not_reached(inside: Inside, classroom: OpenClass) -> None:
    async with classroom.visitor("s002") as neighbour:
        await neighbour.log_in()
        await neighbour.start_server()
        client = docker.from_env()
        attached = client.containers.get("gpuclass-citest-s002").attrs["NetworkSettings"]["Networks"]
        client.close()
        address = attached[classroom.settings.network_name]["IPAddress"]
        socket.create_connection((address, 8888), 2).close()  # the hub's machine reaches it
        assert (await inside.tries(f"tcp('{address}', 8888)"))["became"] != "open"


async def test_another_students_server_does_not_open_through_the_site(inside: Inside, classroom: OpenClass) -> None:
    async with classroom.visitor("s002") as neighbour:
        await neighbour.log_in()
        await neighbour.start_server()
        url = f"{neighbour.server}/api/contents"
        assert (await neighbour.request("GET", url)).status_code == 200
        with_my_cookies = await inside.student.request("GET", url, follow=False)
        assert with_my_cookies.status_code in (302, 403)
        page = await inside.student.request("GET", f"{neighbour.server}/lab")
        assert page.status_code == 403
        token = (await inside.kernel.run("print(os.environ['JUPYTERHUB_API_TOKEN'])")).printed.strip()
        headers = {"Authorization": f"token {token}"}
        async with classroom.visitor("s001") as stranger:  # without cookies: the token alone speaks
            with_my_token = await stranger.request("GET", url, follow=False, headers=headers)
        assert with_my_token.status_code == 403


@pytest.mark.parametrize("address", ["169.254.169.254", "10.255.254.253", "192.168.254.253", "100.127.254.253"])
async def test_metadata_and_private_addresses_are_closed(inside: Inside, address: str) -> None:
    with stand_in(address), listening() as port:
        socket.create_connection((address, port), 2).close()
        found = await inside.tries(f"tcp('{address}', {port})")
    assert found["became"] != "open"
    assert found["seconds"] < 3, "a student should read an error, not wait"


async def test_no_name_outside_is_resolved_and_the_error_comes_at_once(inside: Inside) -> None:
    found = await inside.tries("tcp('example.com', 80)")
    assert found["became"] == "gaierror"
    assert found["seconds"] < 3


async def test_the_hubs_admin_api_refuses_a_students_token(inside: Inside, classroom: OpenClass) -> None:
    api = classroom.settings.hub_api
    assert (await inside.tries(f"http('GET', '{api}/user')"))["status"] == 200
    for method, path in [
        ("GET", "users/s002"),
        ("GET", "groups"),
        ("GET", "services"),
        ("GET", "proxy"),
        ("POST", "users/evil"),
        ("POST", "users/s001/tokens"),
        ("DELETE", "users/s002/server"),
        ("POST", "users/s002/server"),
        ("POST", "groups/instructors/users"),
        ("POST", "shutdown"),
    ]:
        found = await inside.tries(f"http('{method}', '{api}/{path}', data=b'{{}}' if '{method}' == 'POST' else None)")
        assert found["status"] in (403, 404), (method, path, found)
    listed = await inside.tries(f"http('GET', '{api}/users')")
    assert listed["status"] == 403 or [user["name"] for user in json.loads(listed["body"])] == ["s001"]


async def test_a_server_got_every_scope_it_was_to_have_and_no_more(inside: Inside, classroom: OpenClass) -> None:
    model = json.loads((await inside.tries(f"http('GET', '{classroom.settings.hub_api}/user')"))["body"])
    assert missing_scopes(server_token_scopes(), model["scopes"], login="s001") == frozenset()
    assert not [scope for scope in model["scopes"] if scope.startswith(("admin", "list", "servers", "tokens"))]


async def test_the_exchange_gives_a_student_nothing_of_anybody_elses(inside: Inside, classroom: OpenClass) -> None:
    url, course = classroom.settings.exchange_url, classroom.settings.course
    assert (await inside.tries(f"http('GET', '{url}/api/assignments/{course}')"))["status"] == 200
    for method, path in [
        ("GET", f"api/submissions/{course}/01-pixels-to-tensors"),
        ("GET", f"api/submission/{course}/01-pixels-to-tensors/s002"),
        ("GET", f"api/submissions/{course}/01-pixels-to-tensors/s002"),
        ("GET", f"api/feedback/{course}/01-pixels-to-tensors/s002"),
        ("POST", f"api/feedback/{course}/01-pixels-to-tensors/s001"),
        ("POST", f"api/assignment/{course}/evil"),
        ("DELETE", f"api/assignment/{course}/01-pixels-to-tensors"),
        ("PUT", f"gpuclass/v1/deadline/{course}/01-pixels-to-tensors/s001"),
        ("POST", f"gpuclass/v1/grading/{course}/01-pixels-to-tensors/s001"),
        ("GET", "gpuclass/v1/grading/jobs/1"),
        ("GET", "gpuclass/v1/metrics"),
    ]:
        found = await inside.tries(f"http('{method}', '{url}/{path}', data=b'' if '{method}' == 'POST' else None)")
        assert found["status"] == 403, (method, path, found)


async def test_neither_socket_gradebook_nor_other_homes_are_there(inside: Inside, classroom: OpenClass) -> None:
    paths = [
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/srv/course",
        "/home/jovyan/../s002",
        str(classroom.settings.homes),
        str(classroom.settings.course_folder),
        str(classroom.settings.secrets),
    ]
    assert await inside.tries(f"[path for path in {paths!r} if os.path.exists(path)]") == []
    assert await inside.tries("os.listdir('/home')") == ["jovyan"]


async def test_the_root_is_read_only_and_tmp_has_its_size(inside: Inside) -> None:
    assert (await inside.tries("fill('/big', 1)"))["became"] == "Read-only file system"
    assert (await inside.tries("fill('/opt/big', 1)"))["became"] == "Read-only file system"
    found = await inside.tries("fill('/tmp/big', 200)")
    assert found["became"] == "No space left on device"
    assert found["megabytes"] <= 64


async def test_a_student_has_no_capability_and_can_gain_none(inside: Inside) -> None:
    status = await inside.tries(
        "dict(line.split(':\\t', 1) for line in open('/proc/self/status').read().splitlines() if ':\\t' in line)"
    )
    assert {status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Uid"].split() == ["1000"] * 4


async def test_the_curriculum_can_be_read_and_not_changed(inside: Inside) -> None:
    assert await inside.tries("os.path.isdir('/srv/curriculum.git/objects')")
    assert (await inside.tries("fill('/srv/curriculum.git/evil', 1)"))["became"] == "Read-only file system"
