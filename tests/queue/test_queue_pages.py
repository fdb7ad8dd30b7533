"""The way in as a student sees it, in a real browser before a real hub; queue and servers are doubles (queue_hub)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Route, ViewportSize, expect, sync_playwright

from gpuclass import proxy
from gpuclass.queue import words
from tests.classroom.test_browser import CHROMIUM, LAPTOP, QUIET, TABLET
from tests.queue.browsing import PATIENCE_MS, Student, log_in
from tests.queue.queue_hub import QueueHub

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CONTRAST = 4.5  # WCAG 2.2, level AA, for text
CONTRASTS = """() => {
  // A canvas gives every colour, whatever its notation, as numbers.
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parse = (text) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = text;
    context.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
    return { rgb: [r, g, b], a: a / 255 };
  };
  const mix = (top, under) => top.rgb.map((value, i) => value * top.a + under[i] * (1 - top.a));
  const behind = (item) => {
    if (!item) return [255, 255, 255];
    const colour = parse(getComputedStyle(item).backgroundColor);
    return colour.a === 1 ? colour.rgb : mix(colour, behind(item.parentElement));
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const own = (item) => [...item.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
  const shown = [...document.querySelectorAll("#queue *")].filter((item) => own(item) && item.checkVisibility());
  return shown.map((item) => {
    const under = behind(item);
    const [a, b] = [light(mix(parse(getComputedStyle(item).color), under)), light(under)];
    return [item.textContent.trim(), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
}"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueHub]:
    hub = QueueHub(tmp_path_factory.mktemp("queue"))
    hub.start()
    yield hub
    hub.kill()
    print(hub.log.read_text())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, "--no-sandbox"])
        yield browser
        browser.close()


def enter(browser: Browser, hub: QueueHub, login: str, size: ViewportSize = LAPTOP, *, dark: bool = False) -> Student:
    return log_in(browser, hub.url, login, "any", size, dark=dark)


@pytest.fixture(autouse=True)
def patience() -> None:
    expect.set_options(timeout=PATIENCE_MS)


def test_one_key_takes_the_gpu_and_the_page_says_where_one_stands(browser: Browser, hub: QueueHub) -> None:
    student = enter(browser, hub, "turn")
    expect(student.page.locator("#gpu-now")).to_have_text("빈자리 3개 (전체 8개)")
    student.picture("choice")
    hub.queued("turn", "start", ahead=12, seconds=75)
    student.page.keyboard.press("Enter")
    student.sees("start")
    assert hub.asked_for("turn") == {"gpu": True}
    assert student.reads("title") == "차례를 기다리고 있어요"
    assert student.reads("place") == "앞에 12명"
    assert student.reads("left") == "약 80초 남았어요"
    assert student.buttons() == ["시작 취소"], "who waits for a turn would gain nothing from the CPU"
    expect(student.page.get_by_role("status")).to_have_text("차례를 기다리고 있어요. 앞에 12명. 약 80초 남았어요")
    expect(student.page).to_have_title("앞에 12명 · 딥러닝 캠프")
    hub.queued("turn", "start", ahead=0, seconds=4)
    expect(student.page.locator("#queue-place")).to_have_text("다음이 내 차례예요")
    assert student.reads("left") == "곧 시작해요"
    bar = student.page.get_by_role("progressbar")
    passed = int(bar.get_attribute("aria-valuenow") or 0)
    hub.step("turn", phase="starting", progress=60, message="노트북 서버를 켜고 있어요…")
    student.sees("starting")
    assert student.reads("left") == "노트북 서버를 켜고 있어요…"
    assert 0 < passed < int(bar.get_attribute("aria-valuenow") or 0)
    hub.step("turn", phase="ready")
    student.is_in()
    assert student.hosts == {urlsplit(hub.url).netloc}, "pages load from the hub alone"


def test_who_waits_for_a_seat_can_start_on_the_cpu_instead(browser: Browser, hub: QueueHub) -> None:
    student = enter(browser, hub, "seat", TABLET)
    hub.queued("seat", "seat", ahead=2, seconds=200)
    student.page.click(".choice-gpu")
    student.sees("seat")
    assert student.reads("left") == "약 4분 남았어요"
    student.picture("queue")
    hub.queued("seat", "seat", ahead=2, seconds=None)
    expect(student.page.locator("#queue-left")).to_have_text("얼마나 걸릴지 아직 몰라요")
    assert student.buttons() == ["지금 CPU로 시작하기", "시작 취소"]
    student.page.get_by_role("button", name="지금 CPU로 시작하기").press("Enter")
    student.is_in()
    assert hub.asked_for("seat") == {"gpu": False}


def test_the_cpu_can_be_chosen_at_once(browser: Browser, hub: QueueHub) -> None:
    student = enter(browser, hub, "cpu", TABLET)
    student.page.get_by_role("button", name=re.compile("CPU로 시작하기")).click()
    student.is_in()
    assert hub.asked_for("cpu") == {"gpu": False}


def test_a_start_is_cancelled_only_after_a_question(browser: Browser, hub: QueueHub) -> None:
    student = enter(browser, hub, "leaves")
    hub.queued("leaves", "start", ahead=3, seconds=20)
    student.page.click(".choice-gpu")
    student.sees("start")
    student.page.once("dialog", lambda dialog: dialog.dismiss())
    student.page.click("#cancel")
    student.sees("start")
    student.page.once("dialog", lambda dialog: dialog.accept())
    student.page.click("#cancel")
    student.page.wait_for_url(re.compile("/hub/home"))
    expect(student.page.get_by_role("button", name="내 서버 시작하기")).to_be_visible()


def test_a_failed_start_says_why_and_leads_back_to_the_choice(browser: Browser, hub: QueueHub) -> None:
    student = enter(browser, hub, "fails")
    hub.step("fails", phase="starting", progress=25, message="…")
    student.page.click(".choice-gpu")
    student.sees("starting")
    hub.step("fails", phase="failed")
    student.sees("failed")
    expect(student.page.get_by_role("alert")).to_contain_text("서버가 켜지다가 멈췄어요")
    assert all(ratio >= CONTRAST for _, ratio in student.page.evaluate(CONTRASTS))
    student.page.click("#start")
    student.sees("choosing")


def test_figures_on_the_choice_stay_fresh(browser: Browser, hub: QueueHub) -> None:
    student = enter(browser, hub, "thinks")
    hub.free(gpu_seats_open=0, waiting_for_gpu=5, gpu_seconds=150)
    student.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(student.page.locator("#gpu-go")).to_have_text("GPU 자리 기다리기")
    assert "5명이 기다려요" in student.page.locator("#gpu-now").inner_text()
    hub.free()


def test_who_comes_back_to_a_kept_place_is_not_asked_again(browser: Browser, hub: QueueHub) -> None:
    hub.keeps("back", gpu=True)
    hub.queued("back", "seat", ahead=1, seconds=40)
    log_in(browser, hub.url, "back", "any", TABLET, sees="seat")
    assert hub.asked_for("back") == {"gpu": True}


def test_the_proxys_page_waits_until_somebody_answers_and_goes_on(browser: Browser, hub: QueueHub) -> None:
    context = browser.new_context(viewport=LAPTOP, locale="ko-KR")
    page = context.new_page()
    down = True

    def answer(route: Route) -> None:
        if down:
            route.fulfill(status=503, path=proxy.ERRORS / "ko" / "error.html")
        else:
            route.fulfill(body="<h1>Lab</h1>", content_type="text/html")

    context.route("**/user/anybody/lab", answer)
    page.goto(hub.url.replace("/hub", "/user/anybody/lab"))
    expect(page.get_by_role("heading")).to_have_text("다시 연결하고 있어요")
    down = False
    expect(page.get_by_role("heading")).to_have_text("Lab")


def test_a_hub_that_hangs_with_the_stream_open_is_noticed(browser: Browser, hub: QueueHub) -> None:
    student = enter(browser, hub, "hangs")
    student.page.clock.install()
    hub.queued("hangs", "seat", ahead=2, seconds=None)
    student.page.click(".choice-gpu")
    student.sees("seat")
    hub.hangs(True)
    try:
        student.page.clock.run_for(25_000)  # silence, which a stream may keep for as long
        student.page.clock.run_for(12_000)  # an answer that does not come
        student.sees("reconnecting")
    finally:
        hub.hangs(False)
    hub.queued("hangs", "seat", ahead=1, seconds=None)
    student.page.clock.run_for(5_000)
    expect(student.page.locator("#queue-place")).to_have_text("앞에 1명")
    student.sees("seat")


def test_the_pages_script_says_times_and_places_as_the_hub_does(browser: Browser, hub: QueueHub) -> None:
    page = enter(browser, hub, "words").page
    for seconds in (None, 0, 9.9, 10, 45, 90, 91, 600, 3600, 3601):
        assert page.evaluate("(seconds) => duration(seconds)", seconds) == words.duration(seconds, "ko")
    for ahead in (0, 1, 2, 79):
        assert page.evaluate("(ahead) => place(ahead)", ahead) == words.place(ahead, "ko")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_can_be_read(browser: Browser, hub: QueueHub, dark: bool) -> None:
    login = f"reads{dark:d}"
    student = enter(browser, hub, login, dark=dark)
    seen = dict(student.page.evaluate(CONTRASTS))
    hub.queued(login, "seat", ahead=2, seconds=200)
    student.page.click(".choice-gpu")
    student.sees("seat")
    seen |= dict(student.page.evaluate(CONTRASTS))
    assert len(seen) > 12
    assert {text: ratio for text, ratio in seen.items() if ratio < CONTRAST} == {}


def test_nothing_is_cut_off_on_a_small_screen(browser: Browser, hub: QueueHub) -> None:
    student = enter(browser, hub, "small", {"width": 360, "height": 640})
    hub.queued("small", "unknown-devices", ahead=79, seconds=None)
    student.page.click(".choice-gpu")
    student.sees("unknown-devices")
    assert student.reads("place") == "앞에 79명"
    width = student.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    expect(student.page.locator("#cpu")).to_be_visible()
    hub.queued("small", "unknown-devices", ahead=0, seconds=None)
    expect(student.page.locator("#queue-place")).to_be_hidden()
    hub.queued("small", "too-large", ahead=0, seconds=None)
    student.sees("too-large")
    expect(student.page.locator("#queue-title")).to_have_text("이 크기의 GPU 자리가 지금 없어요")
    expect(student.page.locator("#cpu")).to_be_visible()
    assert student.page.evaluate("document.documentElement.scrollWidth") <= 360
