"""Who gets in at the desk, and from where a press is taken."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.requests import Request

from gpuclass.desk.session import PREFIX, Session
from tests.desk.conftest import Browsers, HubDouble


async def test_nobody_is_sent_to_the_hub_and_comes_back_to_the_page_that_was_asked_for(
    browser: Browsers, hub: HubDouble
) -> None:
    visitor = browser(None)
    sent = await visitor.page("me?tab=2")
    assert sent.status_code == 302
    to = urlsplit(sent.headers["location"])
    asked = {name: value for name, (value,) in parse_qs(to.query).items()}
    assert (to.netloc, to.path, asked["client_id"]) == ("localhost:8000", "/hub/api/oauth2/authorize", "service-desk")
    assert asked["redirect_uri"] == "http://desk--service.localhost:8000/services/desk/oauth_callback"

    back = await visitor.page(f"oauth_callback?code=abc&state={asked['state']}")
    assert (back.status_code, back.headers["location"]) == (302, f"{PREFIX}/me?tab=2")
    (_, _, form) = hub.asked[-1]
    assert b"code_verifier=" in form
    assert "김선생" in (await visitor.page("me")).text


async def test_a_log_in_that_this_browser_did_not_begin_is_none(browser: Browsers, hub: HubDouble) -> None:
    first, other = browser(None), browser(None)
    state = parse_qs(urlsplit((await first.page("me")).headers["location"]).query)["state"][0]
    assert (await other.page(f"oauth_callback?code=abc&state={state}")).status_code == 400
    assert (await first.page("oauth_callback?code=abc&state=한")).status_code == 400
    assert hub.asked == []


@pytest.mark.parametrize("page", ["//evil.example/", "https://evil.example/", f"{PREFIX}/\\evil", f"{PREFIX}/\n"])
def test_a_log_in_leads_to_pages_of_the_desk_only(session: Session, page: str) -> None:
    from starlette.responses import RedirectResponse

    answer = RedirectResponse("", 302)
    session.begin(answer, request_with(""), page)
    cookie = answer.headers["set-cookie"].split(";")[0]
    (begun,) = session._begun(request_with(cookie))
    assert begun.next == f"{PREFIX}/"


async def test_the_token_in_a_container_opens_no_page(
    browser: Browsers,
    session: Session,
) -> None:
    visitor = browser(None)
    visitor.cookies.set(session.cookie, "token of teacher")
    assert (await visitor.page("me")).status_code == 302
    visitor.cookies.clear()
    assert (await visitor.page("me", headers={"Authorization": "token token of teacher"})).status_code == 302


async def test_a_state_is_no_session(browser: Browsers, session: Session) -> None:
    visitor = browser(None)
    await visitor.page("me")
    state = visitor.cookies[f"{session.cookie}-state"]
    visitor.cookies.set(session.cookie, state)
    assert (await visitor.page("me")).status_code == 302


async def test_who_has_left_the_roster_or_lacks_the_scope_is_nobody(browser: Browsers) -> None:
    assert (await browser("stranger").page("me")).status_code == 302
    assert (await browser("noscope").page("me")).status_code == 302


async def test_without_a_page_to_show_nobody_gets_401(browser: Browsers) -> None:
    answer = await browser(None).page("me", headers={"Accept": "application/json"})
    assert answer.status_code == 401
    part = await browser(None).page("me", headers={"HX-Request": "true"})
    assert (part.status_code, part.headers["hx-refresh"]) == (401, "true")


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(session: Session) -> None:
    from starlette.responses import Response

    answer = Response()
    session.keep(answer, "t")
    cookie = answer.headers.getlist("set-cookie")[0].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert f"path={PREFIX}/" in cookie


async def test_while_the_hub_is_down_pages_say_so(browser: Browsers, hub: HubDouble) -> None:
    hub.down = True
    answer = await browser("s001").page("me")
    assert answer.status_code == 503
    assert "허브가 응답하지 않아요" in answer.text


async def test_pages_are_never_framed_and_run_no_script_of_others(browser: Browsers) -> None:
    policy = (await browser("s001").page("me")).headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "script-src" not in policy  # so default-src 'self' counts: nothing inline
    assert "default-src 'self'" in policy
    text = (await browser("s001").page("me")).text
    assert "onclick" not in text
    assert "<style" not in text


async def test_language_follows_the_class_until_somebody_chooses(browser: Browsers) -> None:
    visitor = browser("s001")
    assert 'lang="ko"' in (await visitor.page("me")).text
    chosen = await visitor.page("language/en?page=me")
    assert chosen.headers["location"] == f"{PREFIX}/me"
    assert "My server" in (await visitor.page("me")).text
    assert (await visitor.page("language/en?page=//evil.example")).headers["location"] == f"{PREFIX}/"


async def test_a_body_that_never_ends_is_refused(browser: Browsers) -> None:
    assert (await browser("s001").post(f"{PREFIX}/me", content=b"x" * 100_000)).status_code in (405, 413)


def request_with(cookie: str) -> Request:
    return Request({"type": "http", "method": "GET", "headers": [(b"cookie", cookie.encode())]})


async def test_only_files_that_are_everybodys_may_be_used_by_other_pages(browser: Browsers) -> None:
    style = await browser(None).page("static/desk/desk.css")
    assert (style.status_code, style.headers["access-control-allow-origin"]) == (200, "*")
    assert "access-control-allow-origin" not in (await browser("s001").page("me")).headers
    assert (await browser(None).page("static/desk/../app.py")).status_code == 404
