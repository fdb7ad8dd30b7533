"""Builds the images and names them by their content: whoever knows the files knows the name.

An image is built from its folder under images/, the files that the folder's ``context.txt`` lists and the image below
it. The Engine's own builder is used through its API, so neither the docker command nor BuildKit is needed.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import queue
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors

from gpuclass import ROOT
from gpuclass.errors import PlainError

PARENTS = {"base": "debian", "student": "base", "grader": "student"}
"""Which image each one is built on, in the order in which they are built."""
CERTIFICATES = Path("/usr/local/share/ca-certificates")
DEBIAN_SUITE = "trixie"
DEBIAN_MIRROR = "http://deb.debian.org"
HEARTBEAT_SECONDS = 20.0  # a person doubts after about half a minute of silence
STEP_SECONDS = 3600.0  # without any output: 3 GB of wheels on a school's line, then their installation
DIGITS = 12

Say = Callable[[str], None]


class ImageError(PlainError):
    """An image cannot be built; the text says what is missing or what the build said, and what to do."""


@dataclass(frozen=True)
class Row:
    """One image as ``gpuclass images`` shows it."""

    name: str
    reference: str
    parent: str
    built: bool
    size: int | None = None
    created: str | None = None


def files(name: str, root: Path = ROOT, certificates: Path = CERTIFICATES) -> dict[str, Path]:
    """The build context of an image: path inside it → file.

    The folder itself; what its ``context.txt`` lists, files or whole folders, under the same path as in the project;
    and for ``base`` the certificates that the host's administrator added.

    Raises:
        ImageError: no such image, or ``context.txt`` lists what does not exist.
    """
    folder = root / "images" / name
    if name not in PARENTS:
        raise ImageError(f"there is no image {name!r}; known: {', '.join(PARENTS)}")
    found = dict(_tree(folder, folder))
    listing = folder / "context.txt"
    for entry in listing.read_text(encoding="utf-8").split() if listing.exists() else []:
        listed = root / entry
        if not listed.exists():
            raise ImageError(f"images/{name}/context.txt lists {entry}, which does not exist")
        found.update(_tree(listed, root))
    if name == "base":
        found.update({f"certificates/{key}": file for key, file in _tree(certificates, certificates)})
    return found


def _tree(start: Path, root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(start.rglob("*")) if start.is_dir() else [start]:
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(root).as_posix(), path


def reference(name: str, root: Path = ROOT, certificates: Path = CERTIFICATES) -> str:
    """The image's name and tag, such as ``gpuclass-student:0c9dc1d5c56e``; known without Docker."""
    digest = hashlib.sha256()
    if name == "debian":
        packages = (root / "images" / "base" / "packages.txt").read_bytes()
        digest.update(DEBIAN_SUITE.encode() + b"\0" + packages)
        return f"gpuclass-debian:{digest.hexdigest()[:DIGITS]}"
    digest.update(reference(PARENTS.get(name, "debian"), root, certificates).encode())
    for path, file in sorted(files(name, root, certificates).items()):
        content = file.read_bytes()
        digest.update(f"\0{path}\0{_executable(file)}\0{len(content)}\0".encode() + content)
    return f"gpuclass-{name}:{digest.hexdigest()[:DIGITS]}"


def _executable(file: Path) -> bool:
    return bool(file.stat().st_mode & 0o100)


def context(name: str, root: Path = ROOT, certificates: Path = CERTIFICATES) -> bytes:
    """The build context as a tar archive: same files, same bytes, whoever checked them out and when."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for folder in ("certificates",) if name == "base" else ():
            tar.addfile(_entry(folder, tarfile.DIRTYPE, 0o755))  # COPY refuses a folder that is not there
        for path, file in sorted(files(name, root, certificates).items()):
            entry = _entry(path, tarfile.REGTYPE, 0o755 if _executable(file) else 0o644)
            content = file.read_bytes()
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


def _entry(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type, entry.mode = kind, mode
    return entry


def status(client: docker.DockerClient | None = None) -> list[Row]:
    """Every image with what it is built on and whether it is there as the files now say."""
    client = client or connect()
    rows = []
    for name, parent in PARENTS.items():
        wanted = reference(name)
        try:
            attributes = client.images.get(wanted).attrs
        except docker.errors.ImageNotFound:
            rows.append(Row(name, wanted, reference(parent), built=False))
        else:
            size, created = attributes["Size"], attributes["Created"]
            rows.append(Row(name, wanted, reference(parent), built=True, size=size, created=created))
    return rows


def describe(rows: list[Row]) -> list[str]:
    """The rows as a table for people."""
    table = [("image", "built on", "state")]
    for row in rows:
        size = f"built {row.created[:10]}, {row.size / 1e9:.1f} GB" if row.created and row.size else "missing"
        table.append((row.reference, row.parent, size))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]


def build(
    names: Iterable[str] = tuple(PARENTS), say: Say = print, client: docker.DockerClient | None = None
) -> dict[str, str]:
    """Build what is not there yet, parents first; returns name → reference.

    Args:
        names: images wanted; those they are built on are built too.
        say: gets one line for each thing a person may be waiting for.
        client: the Engine; the one that Docker's environment names if not given.

    Raises:
        ImageError: says what to install or what the build printed last.
    """
    client = client or connect()
    # Named and read before the first build starts: files may change during the minutes that it takes.
    built = {name: reference(name) for name in order(names)}
    contexts = {name: context(name) for name in built if name != "debian"}
    for name, tag in built.items():
        if _exists(client, tag):
            say(f"{tag}: up to date")
            continue
        begin = time.monotonic()
        if name == "debian":
            _import_debian(client, tag, say)
        else:
            _build(client, name, tag, built[PARENTS[name]], contexts[name], say)
        say(f"{tag}: built in {time.monotonic() - begin:.0f} s")
    return built


def order(names: Iterable[str]) -> list[str]:
    """The images and all below them, parents first.

    >>> order(["student"])
    ['debian', 'base', 'student']
    """
    wanted: list[str] = []
    for name in names:
        chain = [name]
        while chain[0] != "debian":
            if chain[0] not in PARENTS:
                raise ImageError(f"there is no image {name!r}; known: {', '.join(PARENTS)}")
            chain.insert(0, PARENTS[chain[0]])
        wanted += [link for link in chain if link not in wanted]
    return wanted


def connect() -> docker.DockerClient:
    """The Engine of this machine.

    Raises:
        ImageError: it does not answer.
    """
    try:
        client = docker.from_env(timeout=int(STEP_SECONDS))
        client.ping()
    except docker.errors.DockerException as error:
        raise ImageError(f"Docker does not answer ({error}). Is it installed and running? May you use it?") from None
    return client


def _exists(client: docker.DockerClient, tag: str) -> bool:
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        return False
    return True


def prune(say: Say = print, client: docker.DockerClient | None = None) -> list[str]:
    """Remove images of earlier files that no container uses; returns what was removed."""
    client = client or connect()
    current = {reference(name) for name in order(PARENTS)}
    used = {container.attrs["Config"]["Image"] for container in client.containers.list(all=True)}
    ours = {tag for image in client.images.list() for tag in image.tags if _OURS.fullmatch(tag)}
    removed = sorted(ours - current - used)
    for tag in removed:
        client.images.remove(tag)
        say(f"{tag}: removed")
    return removed


_OURS = re.compile(r"gpuclass-(?:debian|base|student|grader|stock):[0-9a-f]{12}")


# Debian


def _import_debian(client: docker.DockerClient, tag: str, say: Say) -> None:
    """Make a Debian tree with the packages of images/base/packages.txt and import it."""
    packages = (ROOT / "images" / "base" / "packages.txt").read_text(encoding="utf-8").split()
    with tempfile.TemporaryDirectory(prefix="gpuclass-debian-") as folder:
        tree = Path(folder) / "debian.tar"
        say(f"{tag}: Debian {DEBIAN_SUITE} from packages")
        _run(mmdebstrap(packages, tree, _apt("indextargets", "--format", "$(REPO_URI)"), _apt("config", "dump")), say)
        client.api.import_image_from_file(str(tree), *tag.split(":"))


def mmdebstrap(packages: list[str], tree: Path, repositories: str = "", configuration: str = "") -> list[str]:
    """The command that makes the Debian tree.

    Args:
        packages: what it holds besides the essential ones.
        tree: tar file to write.
        repositories: this host's, one a line; its Debian mirrors are used where it has any (Ubuntu has none).
        configuration: this host's ``apt-config dump``; its proxy settings are used.
    """
    main, security = (
        next((uri for uri in repositories.split() if uri.rstrip("/").endswith(f"/{archive}")), default)
        for archive, default in (
            ("debian", f"{DEBIAN_MIRROR}/debian"),
            ("debian-security", f"{DEBIAN_MIRROR}/debian-security"),
        )
    )
    keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    proxies = re.findall(r'^(Acquire::https?::(?:\S*::)?Proxy ".+");$', configuration, re.MULTILINE)
    return [
        "mmdebstrap",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        *(f"--aptopt={proxy}" for proxy in proxies),
        # This host's mirrors and proxies are no business of the image's. images/base brings Debian's own addresses.
        '--customize-hook=cd "$1"/etc/apt && rm -f sources.list sources.list.d/* apt.conf.d/99mmdebstrap',
        DEBIAN_SUITE,
        str(tree),
        f"deb {keyring} {main} {DEBIAN_SUITE} main",
        f"deb {keyring} {main} {DEBIAN_SUITE}-updates main",
        f"deb {keyring} {security} {DEBIAN_SUITE}-security main",
    ]


def _apt(tool: str, *arguments: str) -> str:
    command = ["apt-get", tool] if tool == "indextargets" else [f"apt-{tool}"]
    try:
        return subprocess.run([*command, *arguments], check=True, capture_output=True, text=True).stdout  # noqa: S603 - fixed commands
    except (OSError, subprocess.CalledProcessError):
        return ""  # not a Debian host, or one without lists: Debian's own addresses do


def _run(command: list[str], say: Say) -> None:
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603 - built by mmdebstrap() above
    except FileNotFoundError:
        raise ImageError("mmdebstrap is missing: apt-get install mmdebstrap debian-archive-keyring") from None
    assert process.stdout is not None  # noqa: S101 - PIPE was asked for
    _follow((line.rstrip() for line in process.stdout), say, shown=re.compile(r"I: (?!success|automatically)"))
    if process.wait() != 0:
        raise ImageError("mmdebstrap failed; the lines above say why. Are the Debian mirrors reachable?")


# The Engine's builder


_MILESTONE = re.compile(r"Step \d|  Downloading .*\((?:\d{3,}(?:\.\d+)? M|[\d.]+ G)B\)|Installing collected")


def _build(client: docker.DockerClient, name: str, tag: str, parent: str, archive: bytes, say: Say) -> None:
    say(f"{tag}: from images/{name} on {parent}")
    private = indexes() if "requirements.txt" in files(name) else {}
    stream = client.api.build(
        fileobj=io.BytesIO(archive),
        custom_context=True,
        tag=tag,
        buildargs={"PARENT": parent, **proxies(), **private},
        labels={"gpuclass.image": name, "gpuclass.parent": parent},
        rm=True,
        forcerm=True,
        decode=True,
    )
    last = _follow(_lines(stream), say, shown=_MILESTONE)
    if not _exists(client, tag):
        raise ImageError("\n".join([f"{tag} could not be built. The build ended with:", *last, _advice("".join(last))]))
    if private:
        say("    taking this host's package index out of the image's history")
        forget_history(client, tag)


def forget_history(client: docker.DockerClient, tag: str) -> None:
    """Make the image one layer without history: the history shows build arguments, and an index's may be a password."""
    image = client.images.get(tag)
    config = image.attrs["Config"]
    changes = [f"ENV {key}={json.dumps(value)}" for key, value in (pair.split("=", 1) for pair in config["Env"])]
    changes += [f"LABEL {key}={json.dumps(value)}" for key, value in (config["Labels"] or {}).items()]
    changes += [f"USER {config['User'] or 'root'}", f"WORKDIR {config['WorkingDir'] or '/'}"]
    changes += [f"{key.upper()} {json.dumps(config[key])}" for key in ("Entrypoint", "Cmd") if config[key]]
    container = client.containers.create(image)
    try:
        name, version = tag.split(":")
        client.api.import_image_from_stream(container.export(), repository=name, tag=version, changes=changes)
    finally:
        container.remove()
    client.images.remove(str(image.id), force=True)


def _lines(stream: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The builder's messages as lines of text; an error is the last line."""
    for message in stream:
        text = message.get("stream") or message.get("error") or ""
        yield from (line for line in re.sub(r"\x1b\[\d*m", "", text).splitlines() if line.strip())


def _advice(output: str) -> str:
    """What to do about a failure that is known from schools' networks."""
    if "CERTIFICATE_VERIFY_FAILED" in output or "SSLError" in output:
        return f"The network inspects TLS? Put its certificate as a .crt file into {CERTIFICATES} and build again."
    if "timed out" in output or "Temporary failure in name resolution" in output or "ConnectionError" in output:
        return "The package index cannot be reached from a container. `pip config set global.index-url` names a mirror."
    if "No space left" in output:
        return "The disk is full: the images need about 15 GB under Docker's folder."
    return "The line before the last usually says why."


def _follow(lines: Iterable[str], say: Say, shown: re.Pattern[str], tail: int = 30) -> list[str]:
    """Say the lines that match, and a sign of life when nothing was said for a while; returns the last lines."""
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        try:
            for line in lines:
                waiting.put(line)
        finally:
            waiting.put(None)

    last: deque[str] = deque(maxlen=tail)
    begin = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        while True:
            try:
                line = waiting.get(timeout=HEARTBEAT_SECONDS)
            except queue.Empty:
                doing = last[-1].strip()[:60] if last else "starting"
                say(f"    … {time.monotonic() - begin:.0f} s, still at: {doing}")
                continue
            if line is None:
                break
            last.append(line)
            if shown.match(line):
                say(f"    {line.strip()[:110]}")
        reader.result()
    return list(last)


# What a build may use of this host


def proxies() -> dict[str, str]:
    """This host's proxies by the names that Docker knows: it keeps them out of an image and its history."""
    found = urllib.request.getproxies()
    return {f"{kind.upper()}_PROXY": found[kind] for kind in ("http", "https", "no") if kind in found}


def indexes() -> dict[str, str]:
    """The package indexes that this host's pip uses, as build arguments; they may hold a password."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, check=False, capture_output=True, text=True).stdout  # noqa: S603 - fixed command
    return pip_arguments(listing)


def pip_arguments(listing: str) -> dict[str, str]:
    """Build arguments from ``pip config list``: the environment wins over ``[install]``, that over ``[global]``.

    Indexes on this host's disk cannot be reached from a build and are left out.

    >>> pip_arguments("global.index-url='https://mirror.example/simple'")
    {'PIP_INDEX_URL': 'https://mirror.example/simple'}
    """
    found: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        for key, quoted in re.findall(rf"^{section}\.([a-z-]+)=(.+)$", listing, re.MULTILINE):
            value = str(ast.literal_eval(quoted))
            if key.endswith("index-url"):
                value = " ".join(url for url in value.split() if url.startswith(("http://", "https://")))
            elif key != "trusted-host":
                continue
            if value:
                found[f"PIP_{key.replace('-', '_').upper()}"] = value
    return found
