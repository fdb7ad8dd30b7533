"""The proxy's installation and command line."""

import subprocess
from pathlib import Path

import pytest

from gpuclass import proxy
from gpuclass.settings import Settings
from tests.conftest import MakeSettings


def options(command: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(command[2:14:2], command[3:15:2], strict=True))


def test_the_proxy_listens_where_the_site_says_and_its_api_only_on_loopback(make_settings: MakeSettings) -> None:
    command = proxy.command(make_settings('[site]\nlisten = "0.0.0.0"\nport = 80'))
    assert options(command) == {
        "--ip": "0.0.0.0",  # noqa: S104  # an operator may want that
        "--port": "80",
        "--api-ip": "127.0.0.1",
        "--api-port": "8001",
        "--default-target": "http://10.89.0.1:8081",
        "--error-path": str(proxy.ERRORS / "ko"),
    }


@pytest.mark.parametrize(("language", "text"), [("ko", "다시 연결하고 있어요"), ("en", "Reconnecting")])
def test_a_hub_that_is_down_is_explained_in_the_class_language(
    make_settings: MakeSettings, language: str, text: str
) -> None:
    settings = make_settings()
    settings = settings.model_copy(update={"class_": settings.class_.model_copy(update={"language": language})})
    page = Path(options(proxy.command(settings))["--error-path"]) / "error.html"
    assert text in page.read_text(encoding="utf-8")


def test_hosts_are_told_apart_only_with_subdomains(settings: Settings, make_settings: MakeSettings) -> None:
    assert "--host-routing" in proxy.command(settings)
    assert "--host-routing" not in proxy.command(make_settings("[site]\nsubdomains = false"))


def test_the_token_is_not_on_the_command_line(settings: Settings) -> None:
    assert not [part for part in proxy.command(settings) if "token" in part.lower()]


def test_node_is_new_enough_for_the_proxy() -> None:
    version = subprocess.run([proxy.NODE, "--version"], capture_output=True, text=True, check=True).stdout
    assert int(version.lstrip("v").split(".")[0]) >= 20


def test_an_unreachable_registry_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = tmp_path / "bin" / "node"
    failing.parent.mkdir()
    failing.write_text("#!/bin/sh\necho 'ENOTFOUND registry' >&2\nexit 1\n")
    failing.chmod(0o755)
    for name, value in {"NODE": failing, "PREFIX": tmp_path / "proxy", "SCRIPT": tmp_path / "none"}.items():
        monkeypatch.setattr(proxy, name, value)
    with pytest.raises(proxy.ProxyError, match="ENOTFOUND registry"):
        proxy.install(lambda _: None)


def test_the_lock_file_names_no_registry() -> None:
    lock = (proxy.LOCK / "package-lock.json").read_text()
    assert '"integrity": "sha512-' in lock
    assert "resolved" not in lock
