"""The hub's pages in the class's language, rendered over JupyterHub's own templates without a hub."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from jupyterhub._data import DATA_FILES_PATH

import gpuclass
from gpuclass import reference
from gpuclass.queue import pages

OURS = Path(gpuclass.__file__).parent / "templates"
STOCK = Path(DATA_FILES_PATH) / "templates"
PAGES = sorted(path.name for path in OURS.glob("*.html"))
HANGUL = re.compile(r"[가-힣]")


def rendered(page: str, language: str, **variables: object) -> str:
    loader = ChoiceLoader(
        [PrefixLoader({"templates": FileSystemLoader(STOCK)}), FileSystemLoader([OURS, STOCK])]  # as JupyterHub does it
    )
    environment = Environment(loader=loader, autoescape=True)
    user = SimpleNamespace(name="s01", json_escaped_name="s01", spawner=SimpleNamespace(options_form=None))
    settings = reference.example(subdomains=True)
    settings = settings.model_copy(
        update={"class_": settings.class_.model_copy(update={"language": language, "title": "<Camp>"})}
    )
    given = {
        **{  # JupyterHub calls what is callable with the visitor
            key: value(user) if callable(value) else value
            for key, value in pages.template_vars(settings, lambda: None).items()
        },
        "spawner_options_form": pages.options_form(settings, lambda: None)(SimpleNamespace(role="student")),
        "progress_url": "/hub/api/users/s01/server/progress",
        "static_url": lambda path, **_: path,
        "base_url": "/hub/",
        "user": user,
        "parsed_scopes": {},
        "default_server": SimpleNamespace(active=False),
        "login_service": "",
    }
    return environment.get_template(page).render(given | variables)


def visible(html: str) -> str:
    """Text and form labels of a page, without scripts and JupyterHub's hidden error dialogue."""
    html = re.sub(r"(?s)<script.*?</script>|<style.*?</style>|<noscript.*?</noscript>|<div class=\"modal.*", "", html)
    labels = " ".join(re.findall(r'<input[^>]*type="submit"[^>]*value="([^"]*)"', html))
    return re.sub(r"\s+", " ", re.sub(r"(?s)<[^>]*>", " ", html) + labels)


@pytest.mark.parametrize("page", PAGES)
def test_every_page_speaks_english_where_the_class_does(page: str) -> None:
    text = visible(
        rendered(page, "en", user=None if page == "login.html" else SimpleNamespace(name="s01", spawner=None))
    )
    assert not HANGUL.search(text)
    assert "&lt;Camp&gt;" in text


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("failed", [True, False])
@pytest.mark.parametrize("active", [True, False])
def test_no_english_is_left_on_a_students_page_in_korean(page: str, failed: bool, active: bool) -> None:
    text = visible(rendered(page, "ko", failed=failed, default_server=SimpleNamespace(active=active)))
    assert HANGUL.search(text)
    assert set(re.findall(r"[A-Za-z]{3,}", text.replace("&lt;Camp&gt;", ""))) <= {"GPU", "CPU"}


def test_the_login_page_shows_the_error_and_keeps_the_login() -> None:
    html = rendered("login.html", "ko", user=None, login_error="<틀림>", username='s01"')
    assert "&lt;틀림&gt;" in html
    assert 'value="s01&#34;"' in html


def test_an_expired_login_form_is_explained_in_korean() -> None:
    html = rendered("login.html", "ko", user=None, login_error="Login form invalid or expired. Try again.")
    assert "페이지가 오래되었어요" in html
    assert "expired" not in visible(html)


def test_another_authenticator_has_its_button_and_no_password_field() -> None:
    html = rendered("login.html", "ko", user=None, login_service="GitHub", authenticator_login_url="/hub/oauth_login")
    assert 'href="/hub/oauth_login"' in html
    assert "password_input" not in html


def test_only_who_manages_the_class_sees_its_links() -> None:
    assert "수업 관리" not in rendered("home.html", "ko")
    assert "수업 관리" in rendered("home.html", "ko", parsed_scopes={"admin-ui": True})


def test_a_place_that_is_kept_goes_on_by_itself_and_a_failed_start_does_not() -> None:
    def kept(login: str) -> dict[str, bool]:
        return {"gpu": True}

    assert "내 차례를 지키고 있었어요" in visible(rendered("not_running.html", "ko", place_kept=kept))
    failed = rendered("not_running.html", "ko", place_kept=kept, failed=True, failed_message="<이유>")
    assert "내 차례를 지키고 있었어요" not in visible(failed)
    assert "&lt;이유&gt;" in failed


@pytest.mark.parametrize(("language", "why"), [("ko", "쉬고 있던 GPU 자리를 돌려주었어요"), ("en", "was idle and")])
def test_a_server_that_was_stopped_because_its_seat_was_idle_says_so(language: str, why: str) -> None:
    def reclaimed(login: str) -> bool:
        return login == "s01"

    assert why in visible(rendered("not_running.html", language, reclaimed=reclaimed))
    assert why not in visible(rendered("not_running.html", language))
    failed = rendered("not_running.html", language, reclaimed=reclaimed, failed=True, failed_message="x")
    assert why not in visible(failed)


def test_a_class_title_cannot_break_out_of_the_script() -> None:
    html = rendered("spawn_pending.html", "ko", class_title="</script><b>")
    assert "</script><b>" not in html


@pytest.mark.parametrize("page", PAGES)
def test_a_page_speaks_to_students_as_their_notebooks_do(page: str) -> None:
    source = (OURS / page).read_text(encoding="utf-8")
    assert re.findall(r"\S*니다", source) == [], "해요체, as in the notebooks and while a server starts"
