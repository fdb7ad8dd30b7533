"""class.toml: what is accepted, and how each mistake is named."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from gpuclass import ROOT
from gpuclass.settings import CONFIG_VARIABLE, Settings, SettingsError, load, sections
from tests.conftest import MakeSettings

CLASS = '[class]\nname = "camp"\ntitle = "Camp"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "class.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, text: str) -> list[str]:
    """What the refusal says, one entry a fault."""
    path = written(folder, text)
    with pytest.raises(SettingsError) as caught:
        load(path)
    first, *faults = str(caught.value).splitlines()
    assert first == f"{path} cannot be used:"
    return [fault.strip() for fault in faults]


def test_a_class_needs_nothing_but_a_name_and_a_title(tmp_path: Path) -> None:
    settings = load(written(tmp_path, CLASS))
    assert settings.course == "camp"
    assert settings.server.memory == 4 * 2**30
    assert settings.login.wait == 30
    assert str(settings.gateway) == "10.89.0.1"
    assert settings.exchange_url == "http://10.89.0.1:8082/services/exchange"


def test_the_example_holds_every_key_with_its_default(tmp_path: Path) -> None:
    example = ROOT / "class.example.toml"
    settings = load(example)
    (identity,) = {k: v for k, v in settings if k == "class_"}.values()
    assert settings == load(written(tmp_path, CLASS)).model_copy(update={"path": example, "class_": identity})
    assert (identity.language, identity.timezone) == ("ko", "Asia/Seoul")
    tables = tomllib.loads(example.read_text(encoding="utf-8"))
    assert {name: set(table) for name, table in tables.items()} == {
        name: set(section.model_fields) for name, section in sections().items()
    }


def test_every_key_of_the_example_has_a_comment_above() -> None:
    lines = (ROOT / "class.example.toml").read_text(encoding="utf-8").splitlines()
    blocks = "\n".join(lines).split("\n\n")
    bare = [block for block in blocks if "=" in block and not any(line.startswith("#") for line in block.splitlines())]
    assert bare == []


def test_every_path_lies_in_the_data_folder(tmp_path: Path) -> None:
    settings = load(written(tmp_path, CLASS))
    assert settings.data == tmp_path
    for path in (
        settings.roster_path,
        settings.accounts_path,
        settings.course_folder,
        settings.homes,
        settings.exchange_folder,
        settings.curriculum_repository,
        settings.secrets,
    ):
        assert path.is_relative_to(tmp_path)


def test_the_environment_names_the_file_and_an_argument_wins(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = written(tmp_path / "other", CLASS.replace("camp", "other"))
    assert load(environ={CONFIG_VARIABLE: str(other)}).course == "other"
    assert load(written(tmp_path, CLASS), environ={CONFIG_VARIABLE: str(other)}).course == "camp"


def test_without_either_it_is_the_file_in_var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match=r"var/class\.toml does not exist.*class\.example\.toml"):
        load(environ={})
    (tmp_path / "var").mkdir()
    written(tmp_path / "var", CLASS)
    assert load(environ={CONFIG_VARIABLE: ""}).path == tmp_path / "var" / "class.toml"


def test_all_mistakes_are_in_one_message(tmp_path: Path) -> None:
    text = '[class]\nname = "Camp"\n[server]\nmemory = 4\ncpu = 2\n[grading]\nworkers = "many"\n'
    assert refused(tmp_path, text) == [
        "class.name: string should match pattern '^[a-z](?:[a-z0-9-]*[a-z0-9])?$' (given: 'Camp')",
        "class.title: missing; class.example.toml shows it",
        'server.memory: is not a size; write a number and K, M, G or T in quotes, such as "512M" or "4G" (given: 4)',
        "server.cpu: unknown key; did you mean 'cpus'?",
        "grading.workers: input should be a valid integer (given: 'many')",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[class]\nname = "camp"\n', "class.title: missing; class.example.toml shows it"),
        (CLASS + "[servers]\ncpus = 1\n", "servers: unknown key; did you mean 'server'?"),
        (CLASS + "[login]\nzzz = 1\n", "login.zzz: unknown key; known: roster, authenticator, "),
        (CLASS + '[login]\nwait = "30"\n', "login.wait: is not a duration; write a number and ms, s, m, h or d"),
        (CLASS + "[login]\nfailures = 0\n", "login.failures: input should be greater than or equal to 1"),
        (CLASS + '[login]\nfailures = "5"\n', "login.failures: input should be a valid integer"),
        (CLASS + "[server]\ncpus = 0\n", "server.cpus: input should be greater than 0"),
        (CLASS + '[server]\nmemory = "0G"\n', "server.memory: input should be greater than 0"),
        (CLASS + '[site]\nsubdomains = "yes"\n', "site.subdomains: input should be a valid boolean"),
        (CLASS + '[site]\naddress = "class.example.kr"\n', "site.address: must be http(s)://host[:port]"),
        (CLASS + '[site]\naddress = "http://a.kr/jupyter"\n', "site.address: must be http(s)://host[:port]"),
        (CLASS + '[site]\nlisten = "localhost"\n', "site.listen: is not an IPv4 address"),
        (CLASS + "[site]\nport = 0\n", "site.port: input should be greater than or equal to 1"),
        (
            CLASS + "[site]\nhub_port = 8001\n",
            "site: port, proxy_api_port, hub_port, exchange_port and desk_port must all differ",
        ),
        (CLASS + '[network]\ninternet = "on"\n', "network.internet: input should be 'off' or 'open'"),
        (
            CLASS + '[network]\ninternet = "open"\n',
            'network: resolvers: internet = "open" needs at least one name server',
        ),
        (CLASS + '[network]\nresolvers = ["dns"]\n', "network.resolvers.0: is not an IPv4 address"),
        (CLASS + '[network]\nsubnet = "8.8.8.0/24"\n', "network.subnet: must be a private IPv4 network"),
        (CLASS + '[network]\nsubnet = "10.0.0.0/30"\n', "network.subnet: must be a private IPv4 network"),
        (CLASS + '[network]\nsubnet = "10.0.0.1/24"\n', "network.subnet: is not an IPv4 network"),
        (CLASS + '[grading]\nfeedback = "never"\n', "grading.feedback: input should be 'now', 'after_deadline'"),
        (CLASS + '[grading]\nfeedback = "at-once"\n', 'grading.feedback: is called "now" now; there is also "after_'),
        (CLASS + '[grading]\nfeedback = "on-release"\n', 'grading.feedback: is called "on_release" now'),
        (CLASS + 'language = "fr"\n', "class.language: input should be 'ko' or 'en'"),
        (CLASS + 'timezone = "Mars"\n', "class.timezone: is not a time zone"),
        (CLASS + 'path = "x"\n', "class.path: unknown key"),
    ],
)
def test_each_mistake_names_its_key_and_reason(tmp_path: Path, text: str, said: str) -> None:
    (fault,) = refused(tmp_path, text)
    assert fault.startswith(said)


@pytest.mark.parametrize("name", ["camp2-", "2camp", "c" * 12, "ca_mp", "캠프", ""])
def test_a_name_that_is_no_course_container_and_interface_name_is_refused(tmp_path: Path, name: str) -> None:
    (fault,) = refused(tmp_path, f'[class]\nname = "{name}"\ntitle = "T"\n')
    assert fault.startswith("class.name: ")


@pytest.mark.parametrize(
    ("text", "said"), [("[class", "cannot be read as TOML"), ("a = 1\na = 2", "cannot be read as TOML")]
)
def test_a_file_that_is_not_toml_is_refused_in_words(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(written(tmp_path, text))
    with pytest.raises(SettingsError, match=said):
        load(tmp_path)


def test_settings_do_not_change_once_they_are_read(tmp_path: Path) -> None:
    settings = load(written(tmp_path, CLASS))
    with pytest.raises(ValidationError, match="frozen"):
        settings.server.cpus = 64.0
    with pytest.raises(ValidationError, match="frozen"):
        settings.path = Path("/")


def test_a_path_in_the_file_is_no_way_to_move_the_data_folder(tmp_path: Path) -> None:
    assert refused(tmp_path, 'path = "/etc/class.toml"\n' + CLASS) == [
        "path: unknown key; known: " + ", ".join(sections())
    ]


def test_every_key_says_what_it_is_for() -> None:
    silent = [
        f"{name}.{key}"
        for name, section in sections().items()
        for key, field in section.model_fields.items()
        if not field.description or not field.description.rstrip().endswith((".", "`"))
    ]
    assert silent == []
    assert all(section.__doc__ for section in sections().values())
    assert set(sections()) == {alias.alias or name for name, alias in Settings.model_fields.items()} - {"path"}


def test_a_lesson_is_a_span_of_wall_clock_time_in_the_class_s_zone(make_settings: MakeSettings) -> None:
    settings = make_settings('lessons = ["2026-12-01 09:00-12:30"]')
    nine_in_seoul = datetime(2026, 12, 1, 0, 0, tzinfo=UTC).timestamp()
    assert settings.in_lesson(nine_in_seoul)
    assert not settings.in_lesson(nine_in_seoul - 1)
    assert not settings.in_lesson(nine_in_seoul + 3.5 * 3600)


def test_without_a_timetable_it_may_always_be_a_lesson(settings: Settings) -> None:
    assert settings.in_lesson(0)


@pytest.mark.parametrize("lesson", ["9-12", "2026-12-01 12:30-09:00", "2026-13-01 09:00-12:30", "2026-12-01 09:00"])
def test_what_is_not_a_lesson_is_refused_by_name(make_settings: MakeSettings, lesson: str) -> None:
    with pytest.raises(SettingsError, match=r"class\.lessons.*is not a lesson"):
        make_settings(f'lessons = ["{lesson}"]')


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ('mode = "exclusive"\n[gpu.seats]\nteam = 2', "gpu: seats.team: in mode exclusive"),
        (
            'mode = "shared"\nseats_per_gpu = 3\n[gpu.seats]\ninstructor = 4',
            "gpu: seats.instructor: one GPU has only 3",
        ),
        ('mode = "shared"\n[gpu.seats]\nmentor = 0', "gpu: seats.mentor: must be at least 1"),
        ('mode = "half"', "gpu.mode: "),
    ],
)
def test_sizes_of_seats_that_no_gpu_has_are_refused(make_settings: MakeSettings, table: str, fault: str) -> None:
    with pytest.raises(SettingsError) as refused:
        make_settings(f"[gpu]\n{table}")
    assert fault in str(refused.value)
