"""class.toml and the environment as one frozen, strict model. Nothing else on the host takes a setting from it.

The folder that holds class.toml is the *data folder*: everything that must be backed up lies under it.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gpuclass.errors import UsageError
from gpuclass.gpus.model import Mode
from gpuclass.units import Duration, Size

CONFIG_VARIABLE = "GPUCLASS_CONFIG"
DEFAULT_CONFIG = Path("var/class.toml")
SERVICE_UID = 1000  # owns the data folder, runs the containers and the services that share files with them
NETWORK_NAME_LIMIT = 11  # Linux allows 15 characters for an interface; "gpc-" takes four

Language = Literal["ko", "en"]
Internet = Literal["off", "open"]
FeedbackPolicy = Literal["now", "after_deadline", "on_release"]
FORMER_POLICIES = {"at-once": "now", "on-release": "on_release"}


class SettingsError(UsageError):
    """class.toml cannot be used; the text lists every key at fault, with the reason and a hint."""


class NoSettingsError(SettingsError):
    """There is no class.toml where it was looked for."""


def _policy(text: object) -> object:
    if isinstance(text, str) and text in FORMER_POLICIES:
        raise ValueError(f'is called "{FORMER_POLICIES[text]}" now; there is also "after_deadline"')
    return text


def _network(text: object) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(text)
    except (ValueError, TypeError):
        raise ValueError('is not an IPv4 network; write for example "10.89.0.0/16"') from None
    if not network.is_private or network.prefixlen > 24:
        raise ValueError("must be a private IPv4 network of at least 256 addresses (/24 or larger)")
    return network


def _address(text: object) -> ipaddress.IPv4Address:
    try:
        return ipaddress.IPv4Address(text)
    except (ValueError, TypeError):
        raise ValueError('is not an IPv4 address; write for example "10.0.0.53"') from None


def _resolver(text: object) -> ipaddress.IPv4Address:
    address = _address(text)
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        raise ValueError("is not a name server that containers can reach; write its address on the network")
    return address


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError('is not a time zone; write for example "Asia/Seoul"') from None
    return name


def _site_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError('must be http(s)://host[:port] without a path, such as "https://class.example.ac.kr"')
    return text.rstrip("/")


def _lesson(text: object) -> tuple[datetime, datetime]:
    if isinstance(text, str) and (found := re.fullmatch(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d)-(\d\d:\d\d)", text)):
        day, begin, end = found.groups()
        with suppress(ValueError):
            lesson = tuple(datetime.strptime(f"{day} {time}", "%Y-%m-%d %H:%M") for time in (begin, end))  # noqa: DTZ007  # wall-clock times of class.timezone, see Settings.in_lesson
            if lesson[0] < lesson[1]:
                return lesson[0], lesson[1]
    raise ValueError('is not a lesson; write for example "2026-12-01 09:00-12:30"')


Lesson = Annotated[tuple[datetime, datetime], BeforeValidator(_lesson)]
Network = Annotated[ipaddress.IPv4Network, BeforeValidator(_network)]
Address = Annotated[ipaddress.IPv4Address, BeforeValidator(_address)]
Resolver = Annotated[ipaddress.IPv4Address, BeforeValidator(_resolver)]


class Section(BaseModel):
    """One table of class.toml: unknown keys refused, types strict, values frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ClassSection(Section):
    """Which class this is."""

    name: str = Field(
        pattern=r"^[a-z](?:[a-z0-9-]*[a-z0-9])?$",
        max_length=NETWORK_NAME_LIMIT,
        description="Short name: lower-case letters, digits and hyphens, at most 11 characters. It is the course's "
        "name in nbgrader and names the containers, the network and the firewall table.",
    )
    title: str = Field(min_length=1, description="What students read on the login page.")
    language: Language = Field("ko", description="Language of what students and teachers read: `ko` or `en`.")
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        "Asia/Seoul", description="Zone in which deadlines and times are shown. Times are stored in UTC."
    )
    lessons: tuple[Lesson, ...] = Field(
        (),
        strict=False,
        description="When lessons are, in that zone: `2026-12-01 09:00-12:30`. During one no GPU seat is taken from "
        "anybody for being idle.",
    )


class SiteSection(Section):
    """Where people reach the class, and the ports its processes use."""

    address: Annotated[str, AfterValidator(_site_address)] = Field(
        "http://localhost:8000",
        description="The address in the browser. With subdomains each user has one of their own below it, "
        "so a server needs a wildcard DNS name and certificate.",
    )
    listen: Address = Field(
        ipaddress.IPv4Address("127.0.0.1"),
        validate_default=True,
        description="Address of this machine on which the proxy listens; `0.0.0.0` for all.",
    )
    port: int = Field(8000, ge=1, le=65535, description="Port on which the proxy listens.")
    proxy_api_port: int = Field(8001, ge=1024, le=65535, description="Port of the proxy's API, on 127.0.0.1 only.")
    hub_port: int = Field(8081, ge=1024, le=65535, description="Port of the hub, on the class network only.")
    exchange_port: int = Field(8082, ge=1024, le=65535, description="Port of the exchange, on the class network only.")
    desk_port: int = Field(8083, ge=1024, le=65535, description="Port of the class desk, on the class network only.")
    subdomains: bool = Field(
        True,
        description="A domain of its own for each user's server. Without it a page that a student made runs on the "
        "same domain as the teacher's; then nobody but the student may open a student's server.",
    )

    @model_validator(mode="after")
    def _ports_differ(self) -> SiteSection:
        ports = [self.port, self.proxy_api_port, self.hub_port, self.exchange_port, self.desk_port]
        if len(set(ports)) != len(ports):
            raise ValueError("port, proxy_api_port, hub_port, exchange_port and desk_port must all differ")
        return self


class LoginSection(Section):
    """Who may log in, and how guesses are slowed down."""

    roster: str = Field("roster.csv", description="CSV file with `login, name, role, team`, beside class.toml.")
    authenticator: str = Field(
        "gpuclass",
        description="JupyterHub authenticator: `gpuclass` for cards with generated passwords, or the class path of "
        "another (OAuth, LTI). Roles and teams come from the roster in every case.",
    )
    options: dict[str, Any] = Field(
        {},
        description="Options of that other authenticator, such as `client_id` of an OAuth one; a table "
        "`[login.options]` of its own.",
    )
    failures: int = Field(5, ge=1, le=100, description="Wrong passwords in a row before one account has to wait.")
    wait: Duration = Field(
        "30s",
        validate_default=True,
        description="How long that account then waits. It is the account that waits and never the address: a whole "
        "school comes from one.",
    )

    @property
    def makes_passwords(self) -> bool:
        """Whether passwords are generated and checked here rather than by another authenticator."""
        return self.authenticator == "gpuclass"


class ServerSection(Section):
    """Limits of each student's container."""

    image: str = Field("", description="Image of the containers; empty for the one built from images/student.")
    cpus: float = Field(2.0, gt=0, description="CPU cores; thread counts inside follow it.")
    memory: Size = Field("4G", validate_default=True, description="Memory, swap included.")
    shm: Size = Field("1G", validate_default=True, description="/dev/shm, for DataLoader workers; part of memory.")
    tmp: Size = Field("512M", validate_default=True, description="/tmp, in memory.")
    processes: int = Field(512, ge=64, description="Processes and threads.")
    start_timeout: Duration = Field("120s", validate_default=True, description="How long one start may take.")


class NetworkSection(Section):
    """What containers may reach."""

    internet: Internet = Field(
        "off",
        description="`off`: nothing but the hub and the exchange, names included. `open`: public addresses too; "
        "private ranges and the cloud's metadata address stay closed.",
    )
    resolvers: tuple[Resolver, ...] = Field(
        (), strict=False, description="Name servers that containers may ask when internet is `open`."
    )
    subnet: Network = Field(
        ipaddress.IPv4Network("10.89.0.0/20"),
        validate_default=True,
        description="Private network for the class's containers; must not overlap with one the machine uses.",
    )

    @model_validator(mode="after")
    def _names_resolve(self) -> NetworkSection:
        if self.internet == "open" and not self.resolvers:
            raise ValueError('resolvers: internet = "open" needs at least one name server, such as ["1.1.1.1"]')
        return self


class CurriculumSection(Section):
    """Which sessions the class is taught."""

    sessions: tuple[str, ...] = Field(
        ("00-warm-up", "01-pixels-to-tensors"),
        strict=False,
        description="Folders of notebooks/ that students get; exercises of the same name are graded.",
    )
    datasets: str = Field("", description="Folder with datasets, mounted read-only; empty for none.")


class ExchangeSection(Section):
    """Limits on what a student may submit."""

    submission_limit: Size = Field("50M", validate_default=True, description="One submission, all files together.")
    file_limit: Size = Field("25M", validate_default=True, description="One file of a submission.")
    files_limit: int = Field(100, ge=1, description="Number of files in one submission.")
    student_limit: Size = Field(
        "1G",
        validate_default=True,
        description="All submissions of one student to one assignment, added up; a file counts in each that has it.",
    )
    per_minute: int = Field(20, ge=1, description="Submissions of one student in one minute.")
    reserve: Size = Field(
        "1G",
        validate_default=True,
        description="Space on the data folder's disk that the exchange leaves free; hub and gradebook need some.",
    )


class GradingSection(Section):
    """Limits of the sandbox that runs submissions, and when students see the result."""

    image: str = Field("", description="Image of the sandbox; empty for the one built from images/grader.")
    workers: int = Field(1, ge=1, le=64, description="Submissions graded at the same time.")
    preload: tuple[Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$")], ...] = Field(
        ("torch",),
        strict=False,
        description="Modules that a sandbox has imported before a submission comes: what exercises import and takes "
        "long. Each worker keeps one such sandbox and one referee started, where there is memory for them.",
    )
    cpus: float = Field(1.0, gt=0, description="CPU cores of one sandbox.")
    memory: Size = Field("2G", validate_default=True, description="Memory of one sandbox, swap included.")
    tmp: Size = Field("256M", validate_default=True, description="Writable space of one sandbox, in memory.")
    processes: int = Field(128, ge=16, description="Processes and threads of one sandbox.")
    cell_timeout: Duration = Field("60s", validate_default=True, description="How long one cell may run.")
    timeout: Duration = Field("300s", validate_default=True, description="How long one notebook may run.")
    output_limit: Size = Field("1M", validate_default=True, description="Output kept of one cell.")
    attempts: int = Field(
        12,
        ge=0,
        le=1000,
        description="Submissions of one student to one assignment that are graded within an hour, so that instant "
        "scores are no oracle. More are taken as ever, and graded when the hour allows; 0: all at once.",
    )
    feedback: Annotated[FeedbackPolicy, BeforeValidator(_policy)] = Field(
        "now",
        description="When students see score and feedback. `now`: as soon as it is graded. `after_deadline`: when the "
        "student's own deadline has passed, by itself; without a deadline as `on_release`. `on_release`: when an "
        "instructor releases it.",
    )


class DeskSection(Section):
    """The class desk: the page from which a lesson is run."""

    reports: bool = Field(
        True,
        description="Whether notebooks tell the desk which session is open, how many cells ran and which kinds of "
        "errors came; never code, text or results. Students see what is told.",
    )


class GpuSection(Section):
    """How GPUs are divided into seats, and who may have one."""

    mode: Mode = Field(
        Mode.OFF,
        strict=False,
        description="`off`: no GPUs. `exclusive`: a whole GPU for each seat. `mig`: each MIG instance is a seat. "
        "`shared`: several seats on a GPU, memory limited by agreement and a watchdog. `mps`: several seats, memory "
        "limited by the driver, but one seat's fatal error ends all of that GPU.",
    )
    seats_per_gpu: int = Field(4, ge=1, le=48, description="Seats on each GPU, in `shared` and `mps`.")
    headroom: Size = Field(
        "1G",
        validate_default=True,
        description="Memory of each GPU that is given to no seat, in `shared` and `mps`; drivers need some.",
    )
    devices: tuple[str, ...] = Field(
        (),
        strict=False,
        description="UUIDs or indices of the GPUs or MIG instances that this class may use; empty for all.",
    )
    reserved: int = Field(0, ge=0, description="Seats that only instructors may take.")
    seats: dict[str, int] = Field(
        {},
        description="Larger seats, counted in ordinary ones: by role (`instructor = 2`), for everybody in a team "
        "(`team = 2`), or for one team by its name. The largest that fits a person counts.",
    )
    over: Duration = Field(
        "20s",
        validate_default=True,
        description="In `shared`: how long a seat may stay over its memory after the warning before its cells are "
        "interrupted, and as long again before its kernels are restarted.",
    )
    idle: Duration = Field(
        "30m",
        validate_default=True,
        description="Outside lessons a seat that was idle so long is given back; its holder is warned five minutes "
        "before. A server that says it is busy is believed for four times as long after its last work on the GPU. "
        "During a lesson, and where `class.lessons` is empty, never.",
    )
    wait: Duration = Field(
        "3m",
        validate_default=True,
        description="How long somebody's place in the queue, or their seat after the hub's restart, is kept for them.",
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> GpuSection:
        for who, size in self.seats.items():
            if size < 1:
                raise ValueError(f"seats.{who}: must be at least 1")
            if size > 1 and self.mode is Mode.EXCLUSIVE:
                raise ValueError(f"seats.{who}: in mode exclusive every seat is one whole GPU, so only 1 is possible")
            if self.mode in (Mode.SHARED, Mode.MPS) and size > self.seats_per_gpu:
                raise ValueError(f"seats.{who}: one GPU has only {self.seats_per_gpu} seats (seats_per_gpu)")
        return self


class Settings(Section):
    """One class, as class.toml describes it."""

    path: Path
    class_: ClassSection = Field(alias="class")
    site: SiteSection = SiteSection()  # type: ignore[call-arg]  # every key has a default; the plugin sees only fields
    login: LoginSection = LoginSection()  # type: ignore[call-arg]
    server: ServerSection = ServerSection()  # type: ignore[call-arg]
    network: NetworkSection = NetworkSection()  # type: ignore[call-arg]
    curriculum: CurriculumSection = CurriculumSection()  # type: ignore[call-arg]
    exchange: ExchangeSection = ExchangeSection()  # type: ignore[call-arg]
    grading: GradingSection = GradingSection()  # type: ignore[call-arg]
    desk: DeskSection = DeskSection()  # type: ignore[call-arg]
    gpu: GpuSection = GpuSection()  # type: ignore[call-arg]

    @property
    def course(self) -> str:
        """The course's name in nbgrader: the class's name."""
        return self.class_.name

    @property
    def data(self) -> Path:
        """The data folder: where class.toml lies."""
        return self.path.parent

    @property
    def roster_path(self) -> Path:
        """The roster CSV."""
        return self.data / self.login.roster

    @property
    def accounts_path(self) -> Path:
        """The roster as imported last, with password hashes; readable by the service user only."""
        return self.data / "accounts.sqlite"

    @property
    def course_folder(self) -> Path:
        """nbgrader's course folder: source/, release/, submitted/, autograded/, feedback/, gradebook.db."""
        return self.data / "courses" / self.course

    @property
    def homes(self) -> Path:
        """One folder a user, mounted as the home of their container."""
        return self.data / "homes"

    @property
    def exchange_folder(self) -> Path:
        """The exchange's own store; nobody else writes there."""
        return self.data / "exchange"

    @property
    def curriculum_repository(self) -> Path:
        """The released curriculum, a bare git repository, mounted read-only in every container."""
        return self.data / "curriculum" / "release.git"

    @property
    def datasets(self) -> Path | None:
        """Folder mounted read-only in every container; None for none."""
        return self.data / self.curriculum.datasets if self.curriculum.datasets else None

    @property
    def gpus_folder(self) -> Path:
        """The ledger of seats, what the watch sees of the GPUs, and notices to the holders of seats."""
        return self.data / "gpus"

    @property
    def ledger_path(self) -> Path:
        """Who holds which seat, who waits, and who had how much; SQLite."""
        return self.gpus_folder / "ledger.sqlite"

    def notices(self, login: str) -> Path:
        """Folder with what the holder of a seat is told, mounted read-only in their container."""
        return self.gpus_folder / "notices" / login

    def in_lesson(self, moment: float) -> bool:
        """Whether a lesson is on at this moment (seconds since the epoch). Without a timetable there always is one."""
        lessons = self.class_.lessons
        here = datetime.fromtimestamp(moment, UTC).astimezone(ZoneInfo(self.class_.timezone)).replace(tzinfo=None)
        return not lessons or any(begin <= here < end for begin, end in lessons)

    @property
    def secrets(self) -> Path:
        """Tokens of the processes, readable by the service user only."""
        return self.data / "secrets"

    @property
    def network_name(self) -> str:
        """Docker network and Linux bridge of the class's containers."""
        return f"gpc-{self.class_.name}"

    @property
    def gateway(self) -> ipaddress.IPv4Address:
        """This machine's address on the class network; the hub and the exchange listen there."""
        return self.network.subnet[1]

    @property
    def hub_api(self) -> str:
        """URL of the hub's REST API, from containers and services."""
        return f"http://{self.gateway}:{self.site.hub_port}/hub/api"

    @property
    def exchange_url(self) -> str:
        """URL of the exchange, from containers and services; no slash at the end."""
        return f"http://{self.gateway}:{self.site.exchange_port}/services/exchange"

    @property
    def desk_url(self) -> str:
        """URL of the class desk, from containers; no slash at the end."""
        return f"http://{self.gateway}:{self.site.desk_port}/services/desk"

    @property
    def desk_site(self) -> str:
        """Scheme, host and port of the class desk in a browser. With subdomains JupyterHub gives each service its own.

        That domain is the desk's alone: a page that a student made is of another origin, and cannot read or press here.
        """
        return self.site_of("desk--service")

    def site_of(self, login: str) -> str:
        """Scheme, host and port of one person's server in a browser."""
        if not self.site.subdomains:
            return self.site.address
        scheme, host = self.site.address.split("://", 1)
        return f"{scheme}://{login}.{host}"

    @property
    def desk_path(self) -> Path:
        """Hands, messages, and who did what; SQLite."""
        return self.data / "desk" / "desk.sqlite"


def load(path: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read class.toml.

    Args:
        path: the file; without it the one that ``GPUCLASS_CONFIG`` names, else ``var/class.toml``.
        environ: the environment.

    Raises:
        SettingsError: one message that names every key at fault, with the reason and a hint.
    """
    path = path or Path(environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoSettingsError(
            f"{path} does not exist. Copy class.example.toml there and edit it, or name another file with "
            f"{CONFIG_VARIABLE}. `make demo` starts a class in ./var from the examples."
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as TOML: {error}") from None
    faults = ["path: unknown key; known: " + ", ".join(sections())] if "path" in tables else []
    try:
        settings = Settings.model_validate({**tables, "path": path.resolve()})
    except ValidationError as error:
        faults += [_explain(problem) for problem in error.errors()]
    if faults:
        raise refused(path, faults)
    return settings


def refused(path: Path, faults: Iterable[str]) -> SettingsError:
    """The error for a class.toml that cannot be used, with everything that is at fault, one line each."""
    return SettingsError("\n".join([f"{path} cannot be used:", *(f"  {fault}" for fault in faults)]))


def _explain(problem: Any) -> str:
    """One line for one of pydantic's errors: the key, what is wrong, what to do."""
    where = [str(part) for part in problem["loc"]]
    key = ".".join(where) or "class.toml"
    given = "" if isinstance(problem["input"], dict) else f" (given: {problem['input']!r})"
    match problem["type"]:
        case "extra_forbidden":
            near = difflib.get_close_matches(where[-1], _known_keys(where[:-1]), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_known_keys(where[:-1]))}"
            return f"{key}: unknown key; {hint}"
        case "missing":
            return f"{key}: missing; class.example.toml shows it"
        case "value_error":
            return f"{key}: {problem['ctx']['error']}{given}"
        case _:
            return f"{key}: {problem['msg'][0].lower()}{problem['msg'][1:]}{given}"


def sections() -> dict[str, type[Section]]:
    """The tables of class.toml by name, for the reference page and for hints."""
    return {
        field.alias or name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }


def _known_keys(table: list[str]) -> list[str]:
    known = sections()
    if not table:
        return list(known)
    return list(known[table[0]].model_fields) if table[0] in known else []
