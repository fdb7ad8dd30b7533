"""Reading the roster: what is accepted, and what is refused with which words."""

import unicodedata
from pathlib import Path

import pytest

from gpuclass.roster import Person, Role, Roster, RosterError, read

HEADER = "login,name,role,team\n"


def written(folder: Path, text: str | bytes, encoding: str = "utf-8") -> Path:
    path = folder / "roster.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def refused(folder: Path, text: str | bytes) -> list[str]:
    """What the refusal says, one entry a fault."""
    with pytest.raises(RosterError) as caught:
        read(written(folder, text))
    first, *faults = str(caught.value).splitlines()
    assert str(folder / "roster.csv") in first
    return [fault.strip() for fault in faults]


def test_a_roster_gives_people_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        HEADER
        + "s02,김하늘,student,a1\ns01,이바다,student,\nt01,박선생,instructor,\nm1,Ann,mentor,a1\nop,Op,operator,\n"
    )
    roster = read(written(tmp_path, text))
    assert roster.people == (
        Person("s02", "김하늘", Role.STUDENT, "a1"),
        Person("s01", "이바다", Role.STUDENT, ""),
        Person("t01", "박선생", Role.INSTRUCTOR, ""),
        Person("m1", "Ann", Role.MENTOR, "a1"),
        Person("op", "Op", Role.OPERATOR, ""),
    )
    assert [person.login for person in roster.with_role(Role.STUDENT)] == ["s02", "s01"]
    assert roster.get("t01") == roster.people[2]
    assert roster.get("nobody") is None


def test_groups_follow_role_and_team() -> None:
    assert Person("s01", "김하늘", Role.STUDENT, "3조").groups == ("students", "team-3조")
    assert Person("t01", "박선생", Role.INSTRUCTOR).groups == ("instructors",)
    assert [role.group for role in Role] == ["students", "mentors", "instructors", "operators"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
def test_every_encoding_that_excel_writes_is_read(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, HEADER + "s01,김똠방각하,student,햇살\n", encoding)
    assert read(path).people == (Person("s01", "김똠방각하", Role.STUDENT, "햇살"),)


def test_korean_headers_and_roles_in_any_order(tmp_path: Path) -> None:
    path = written(tmp_path, "이름,팀,역할,아이디\n김하늘,1조,학생,s01\n박선생,,강사,t01\n", "cp949")
    assert read(path).people == (
        Person("s01", "김하늘", Role.STUDENT, "1조"),
        Person("t01", "박선생", Role.INSTRUCTOR, ""),
    )


def test_decomposed_hangul_of_a_mac_is_composed(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "김하늘")
    assert decomposed != "김하늘"
    path = written(tmp_path, HEADER + f"s01,{decomposed},student,{unicodedata.normalize('NFD', '햇살')}\n")
    assert read(path).people == (Person("s01", "김하늘", Role.STUDENT, "햇살"),)


def test_blank_lines_spaces_carriage_returns_and_padding_do_not_matter(tmp_path: Path) -> None:
    text = "\r\nLogin, Name ,role,team\r\n\r\n s01 , 김하늘 ,Student, \r\n,,,\r\n   \r\n"
    text += "s02,이바다,student,,,\r\ns03,Bo,student\r\n"
    assert [(p.login, p.name, p.role) for p in read(written(tmp_path, text)).people] == [
        ("s01", "김하늘", Role.STUDENT),
        ("s02", "이바다", Role.STUDENT),
        ("s03", "Bo", Role.STUDENT),
    ]


def test_two_people_may_share_a_name(tmp_path: Path) -> None:
    assert len(read(written(tmp_path, HEADER + "s01,김하늘,student,\ns02,김하늘,student,\n")).people) == 2


def test_a_quoted_name_may_hold_a_comma(tmp_path: Path) -> None:
    assert read(written(tmp_path, HEADER + 's01,"Kim, Haneul",student,\n')).people[0].name == "Kim, Haneul"


@pytest.mark.parametrize(
    "login",
    [
        "",
        "S01",
        "1s",
        "s",
        "s" * 32,
        "s-1",
        "s.1",
        "s_1",
        "s 1",
        "../etc",
        "김하늘",
        "s01\u0301",
        "ｓ01",
        "s①",
        "xn--a",
        "s/1",
        "s01;",
    ],
)
def test_a_login_that_is_no_subdomain_folder_and_container_name_is_refused(tmp_path: Path, login: str) -> None:
    (fault,) = refused(tmp_path, HEADER + f"{login},김하늘,student,\n")
    assert fault.startswith("line 2: login ")
    assert "a-z and 0-9" in fault


@pytest.mark.parametrize("login", ["hub", "www", "services", "localhost"])
def test_names_of_the_site_are_no_logins(tmp_path: Path, login: str) -> None:
    assert refused(tmp_path, HEADER + f"{login},김하늘,student,\n") == [
        f"line 2: login {login!r}: is a name of the site itself"
    ]


@pytest.mark.parametrize("login", ["s1", "s" * 31, "kim2026"])
def test_plain_logins_are_accepted(tmp_path: Path, login: str) -> None:
    assert read(written(tmp_path, HEADER + f"{login},김하늘,student,\n")).people[0].login == login


@pytest.mark.parametrize("role", ["", "admin", "students", "관리자"])
def test_unknown_roles_are_refused_and_the_known_ones_named(tmp_path: Path, role: str) -> None:
    (fault,) = refused(tmp_path, HEADER + f"s01,김하늘,{role},\n")
    assert fault.startswith(f"line 2: role {role!r}: must be one of student, mentor, instructor, operator")


@pytest.mark.parametrize("team", ["a b", "-a", "a-", "a" * 31, "a/b", "a,b", "_a", "a&b", "a!b", "a=b"])
def test_teams_that_a_scope_or_a_url_could_misread_are_refused(tmp_path: Path, team: str) -> None:
    (fault,) = refused(tmp_path, HEADER + f's01,김하늘,student,"{team}"\n')
    assert fault.startswith("line 2: team ")


@pytest.mark.parametrize("name", ["", "  ", "김" * 51, '"김\n하늘"', "김\x1b[31m"])
def test_empty_endless_and_unprintable_names_are_refused(tmp_path: Path, name: str) -> None:
    (fault,) = refused(tmp_path, HEADER + f"s01,{name},student,\n")
    assert fault.startswith("line 2: name ")


def test_a_name_with_an_unquoted_comma_is_pointed_out(tmp_path: Path) -> None:
    faults = refused(tmp_path, HEADER + "s01,Kim,Haneul,student,a1\n")
    assert "line 2: 5 cells under 4 columns; put a name with a comma in quotes" in faults


def test_every_line_at_fault_is_in_one_message_with_its_number(tmp_path: Path) -> None:
    text = HEADER + '\ns01,"Kim",student,\nS02,,boss,\n\ns01,김하늘,student,\n'
    assert refused(tmp_path, text) == [
        "line 4: login 'S02': must be 2 to 31 of a-z and 0-9, a letter first",
        "line 4: name is empty",
        "line 4: role 'boss': must be one of student, mentor, instructor, operator (or 학생, 멘토, 강사, 운영자)",
        "line 6: login 's01' is already on line 3",
    ]


def test_missing_unknown_and_doubled_columns_are_named(tmp_path: Path) -> None:
    assert refused(tmp_path, "login,nmae,role,role\ns01,김하늘,student,\n") == [
        "line 1: column 'name' is missing",
        "line 1: column 'team' is missing",
        "line 1: unknown column 'nmae'",
        "line 1: column 'role' stands there twice",
        "line 1: the first line names the columns: login,name,role,team (or 아이디,이름,역할,팀)",
    ]


def test_two_words_for_the_same_column_are_one_column_twice(tmp_path: Path) -> None:
    assert "line 1: column 'team' stands there twice" in refused(tmp_path, "login,name,role,팀,조\ns1,김,student,1,1\n")


def test_a_roster_without_anybody_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, HEADER) == ["holds nobody: there is no line below the header"]
    assert "line 1: column 'login' is missing" in refused(tmp_path, "")


def test_an_unclosed_quote_is_refused(tmp_path: Path) -> None:
    (fault,) = refused(tmp_path, HEADER + 's01,"김하늘,student,\n')
    assert fault.startswith("is not CSV: ")


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", (HEADER + "s01,김하늘,student,\n").encode("utf-16")])
def test_a_file_in_another_encoding_says_how_to_save_it(tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(RosterError, match=r"neither UTF-8 nor cp949 text\. In Excel: Save As"):
        read(written(tmp_path, raw))


def test_a_missing_file_and_a_folder_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(RosterError, match=r"does not exist.*columns login, name, role, team"):
        read(tmp_path / "none.csv")
    with pytest.raises(RosterError, match="cannot be read: Is a directory"):
        read(tmp_path)


def test_a_roster_is_a_value() -> None:
    person = Person("s01", "김하늘", Role.STUDENT)
    assert Roster((person,)) == Roster((person,))
    assert hash(Roster((person,))) == hash(Roster((person,)))
