"""``gpuclass gpus``: the GPUs, their seats and who holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from gpuclass.gpus.devices import Load
    from gpuclass.gpus.labels import SeatLabels
    from gpuclass.gpus.model import Lease, Request
    from gpuclass.gpus.overview import DeviceRow, Overview, SeatRow
    from gpuclass.settings import Settings

app = typer.Typer()


@app.command()
def gpus(
    json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    in_service: Annotated[
        str,
        typer.Option("--in-service", metavar="UUID", help="Only put a device back that an Xid took out of service."),
    ] = "",
) -> None:
    """Show GPUs, seats, who holds them and what is wrong; exit 1 when something is. Works without a class, too."""
    from dataclasses import asdict
    from json import dumps

    from rich.console import Console

    from gpuclass.gpus.devices import faults_file
    from gpuclass.settings import NoSettingsError, load

    if in_service:
        back = faults_file(load().gpus_folder).put_in_service(in_service)
        said = "in service again; the watch sees it within seconds" if back else "no Xid has taken it out of service"
        typer.echo(f"{in_service}: {said}")
        raise typer.Exit(0 if back else 1)
    settings: Settings | None
    try:
        settings = load()
    except NoSettingsError:
        settings = None
    found = _gather(settings)
    if json:
        typer.echo(dumps({**asdict(found), "seats_free": found.seats_free}))
    else:
        console = Console(highlight=False)
        if found.devices:
            console.print(_table(found))
        for line in _lines(found):
            console.print(line, markup=False, soft_wrap=True)
        for problem in found.problems:
            console.print(f"! {problem}", style="red", markup=False, soft_wrap=True)
    raise typer.Exit(1 if found.problems and found.mode != "off" else 0)


def _gather(settings: Settings | None) -> Overview:
    """What the watch wrote, where it is fresh; else what the driver says to a process that can be given up."""
    import time

    from gpuclass.gpus.devices import ask_in_child, read_snapshots
    from gpuclass.gpus.ledger import Ledger
    from gpuclass.gpus.model import LOCAL, Mode
    from gpuclass.gpus.overview import overview
    from gpuclass.gpus.seats import seats_of
    from gpuclass.gpus.wiring import mps_problems
    from gpuclass.settings import GpuSection
    from gpuclass.watch.usage import read_usage

    now = time.time()
    gpu = settings.gpu if settings else GpuSection()  # type: ignore[call-arg]  # every key has a default
    inventories = read_snapshots(settings.gpus_folder, now) if settings else []
    usages = [
        usage for each in inventories if settings and (usage := read_usage(settings.gpus_folder, each.engine, now))
    ]
    source = "watch"
    loads: list[Load] = []
    if not inventories:
        source = "driver"
        answer = ask_in_child()
        inventories, loads = [answer.inventory], list(answer.loads)
    leases: list[Lease] = []
    queue: list[Request] = []
    if settings and settings.ledger_path.exists():
        with Ledger(settings.ledger_path) as ledger:
            leases, queue = ledger.live(), ledger.queue()
    wiring = ""
    problems: list[str] = []
    others: list[SeatLabels] = []
    if gpu.mode is not Mode.OFF:
        wiring, problems, seats = _ask_engine()
        others = [seat for seat in seats if settings and seat.class_ != settings.class_.name]
    if gpu.mode is Mode.MPS:
        uuids = sorted({seat.device for seat in seats_of(inventories, gpu) if seat.engine == LOCAL})
        problems += mps_problems(uuids, ask_in_child().exclusive)
    return overview(
        inventories,
        gpu,
        source=source,
        loads=loads,
        usages=usages,
        leases=leases,
        queue=queue,
        others=others,
        own_image=bool(settings and settings.server.image),
        wiring=wiring,
        problems=problems,
    )


def _ask_engine() -> tuple[str, list[str], list[SeatLabels]]:
    """How Docker gives devices to containers, what stands in the way, and the seats of running containers."""
    from contextlib import closing
    from shutil import which
    from socket import AF_UNIX, socket

    import docker
    import requests
    from docker.errors import DockerException

    from gpuclass.engine import PROGRAMS, SOCKET
    from gpuclass.gpus.labels import DEVICE_LABEL, SeatLabels
    from gpuclass.gpus.wiring import HOOK, capability_of, toolkit_problem

    try:
        with socket(AF_UNIX) as line:
            line.connect(str(SOCKET))  # docker's client leaves its own open when it cannot ask for the version
        with closing(docker.APIClient(base_url=f"unix://{SOCKET}", version="auto", timeout=10)) as client:
            able = capability_of(client)
            labels = [container["Labels"] for container in client.containers(filters={"label": DEVICE_LABEL})]
    except (OSError, DockerException, requests.RequestException):
        return "", ["Docker does not answer: whether it can give GPUs to containers is not known."], []
    problem = toolkit_problem(able, which(HOOK, path=PROGRAMS) is not None)
    return able.reason, [problem] if problem else [], [seat for each in labels if (seat := SeatLabels.read(each))]


def _table(found: Overview) -> Table:
    from rich.table import Table

    table = Table("gpu", "device", "memory", "busy", "seats", title_justify="left")
    for device in found.devices:
        table.add_row(
            device.index if device.engine == "local" else f"{device.engine} {device.index}",
            _device(device),
            _memory(device.used, device.memory),
            "" if device.percent is None else f"{device.percent} %",
            "\n".join(_seat(seat) for seat in device.seats) or "no seats",
            style="red" if device.fault else None,
        )
    return table


def _device(device: DeviceRow) -> str:
    from rich.markup import escape

    return escape("\n".join(part for part in (device.profile or device.name, device.uuid) if part))


def _seat(seat: SeatRow) -> str:
    from rich.markup import escape

    slots = "+".join(str(slot) for slot in seat.slots)
    state = "" if seat.state in ("", "active") else f" ({seat.state})"
    over = "" if seat.step in ("", "calm") else f", {seat.step}"
    return escape(
        f"{slots}  {seat.user or 'free'}{state}  {_memory(seat.used if seat.user else None, seat.memory)}{over}"
    )


def _memory(used: int | None, total: int) -> str:
    from gpuclass.units import show_size

    if not total:
        return "?"
    return show_size(total) if used is None else f"{show_size(used)} of {show_size(total)}"


def _lines(found: Overview) -> list[str]:
    drivers = ", ".join(f"driver {version}" for version in found.drivers.values() if version)
    said = "as the watch saw it" if found.source == "watch" else "as the driver says now; no watch runs"
    lines = [f"{drivers or 'no driver'}, {said}"]
    if found.mode == "off":
        return [*lines, "mode off: this class uses no GPU (docs/howto/gpus.md says how to choose a mode)"]
    lines.append(f"mode {found.mode}; memory limit held by: {found.enforcement}; containers by: {found.wiring or '?'}")
    lines += [f"  {about}: {sentence}" for about, sentence in found.guarantee.items()]
    total = sum(len(seat.slots) for device in found.devices for seat in device.seats)
    lines.append(
        f"{found.seats_free} of {total} seats free; waiting for a seat: {found.waiting_for_gpu}, to start: "
        f"{found.waiting_to_start}"
    )
    return lines
