"""What every image has: Debian with its own Python, Korean fonts, the host's certificates, nobody is root."""

import hashlib
import io
import ssl

import docker
import pytest

from gpuclass import images
from gpuclass.images import CERTIFICATES
from tests.images.conftest import Run

pytestmark = pytest.mark.images


def test_it_is_debian_stable_with_its_own_python(image: str, run: Run) -> None:
    assert 'VERSION_ID="13"' in run(image, "cat", "/etc/os-release")
    version = run(image, "python3", "-c", "import sys; print(sys.version_info[:2], sys.base_prefix)")
    assert version == "(3, 13) /usr\n"


def test_programs_run_as_jovyan_in_the_home(image: str, run: Run) -> None:
    assert run(image, "sh", "-c", "id -u; id -g; id -un; pwd; echo $HOME").split() == [
        *("1000", "1000", "jovyan"),
        *("/home/jovyan", "/home/jovyan"),
    ]


def test_an_init_reaps_what_programs_leave_behind(image: str, run: Run) -> None:
    assert run(image, "cat", "/proc/1/comm") == "tini\n"


def test_text_is_utf_8(image: str, run: Run) -> None:
    assert run(image, "python3", "-c", "import locale; print('한글', locale.getencoding())") == "한글 UTF-8\n"


def test_korean_fonts_git_and_time_zones_are_there(image: str, run: Run) -> None:
    assert "NanumGothic.ttf" in run(image, "ls", "/usr/share/fonts/truetype/nanum")
    assert run(image, "git", "--version").startswith("git version 2.")
    assert run(image, "date", "+%Z", environment={"TZ": "Asia/Seoul"}) == "KST\n"


def test_certificates_that_the_host_added_are_trusted(image: str, run: Run) -> None:
    added = [ssl.PEM_cert_to_DER_cert(file.read_text(encoding="ascii")) for file in CERTIFICATES.rglob("*.crt")]
    code = """
import hashlib, ssl, sys
trusted = ssl.create_default_context().get_ca_certs(binary_form=True)
print(set(sys.argv[1:]) - {hashlib.sha256(certificate).hexdigest() for certificate in trusted} or "all")
"""
    digests = [hashlib.sha256(certificate).hexdigest() for certificate in added]
    assert run(image, "python3", "-c", code, *digests) == "all\n"


def test_addresses_and_proxies_of_the_host_are_not_inside(image: str, run: Run) -> None:
    assert run(image, "ls", "/etc/apt/sources.list.d").split() == ["debian.sources"]
    assert "99mmdebstrap" not in run(image, "ls", "/etc/apt/apt.conf.d")
    assert run(image, "sh", "-c", "env | grep -iE 'pip_.*index|proxy' || echo none") == "none\n"


def test_there_is_no_compiler_no_node_and_no_way_to_become_root(image: str, run: Run) -> None:
    for program in ("gcc", "cc", "g++", "make", "node", "npm", "nodejs", "sudo", "curl", "docker"):
        assert run(image, "sh", "-c", f"command -v {program} || echo none") == "none\n"


def test_a_package_index_does_not_stay_in_an_images_history(engine: docker.DockerClient, built: dict[str, str]) -> None:
    dockerfile = f"""
        FROM {built["base"]}
        ARG PIP_INDEX_URL
        RUN echo "$PIP_INDEX_URL" | wc -c > /tmp/length
        CMD ["cat", "/tmp/length"]
    """
    tag, secret = "gpuclass-test-history:latest", "https://name:password@mirror.example/simple"
    arguments = {"PIP_INDEX_URL": secret}
    engine.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=tag, buildargs=arguments, nocache=True, rm=True)
    try:
        before = engine.images.get(tag)
        assert secret in str(before.history()), "the builder wrote it down, or there is nothing to test"
        images.forget_history(engine, tag)
        after = engine.images.get(tag)
        assert "password" not in str(after.history()) + str(after.attrs)
        for key in ("Env", "User", "WorkingDir", "Entrypoint", "Cmd"):
            assert after.attrs["Config"][key] == before.attrs["Config"][key], key
        assert engine.containers.run(tag, remove=True).decode().strip() == str(len(secret) + 1)
    finally:
        engine.images.remove(tag, force=True)
