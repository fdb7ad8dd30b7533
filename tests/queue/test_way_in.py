"""The way in with the class's own hub, queue, ledger and spawner, in a real browser; only Docker is a double."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.classroom.test_browser import CHROMIUM, LAPTOP, QUIET, TABLET
from tests.queue.broker_hub import BrokerHub
from tests.queue.browsing import Student, log_in

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerHub]:
    hub = BrokerHub(tmp_path_factory.mktemp("way"))
    hub.gpus(1)
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


def enter(browser: Browser, hub: BrokerHub, login: str, *, tablet: bool = False) -> Student:
    return log_in(browser, hub.url, login, hub.passwords[login], TABLET if tablet else LAPTOP)


def test_one_seat_three_students_and_a_hub_that_is_killed(browser: Browser, hub: BrokerHub) -> None:
    first = enter(browser, hub, "s01")
    expect(first.page.locator("#gpu-now")).to_contain_text("빈자리 1개 (전체 1개)")
    first.page.click(".choice-gpu")
    first.is_in()
    assert hub.holders() == {"s01"}

    second = enter(browser, hub, "s02", tablet=True)
    expect(second.page.locator("#gpu-now")).to_contain_text("지금은 빈자리가 없어요")
    second.page.click(".choice-gpu")
    second.sees("seat")
    assert second.reads("place") == "다음이 내 차례예요"
    third = enter(browser, hub, "s03")
    third.page.click(".choice-gpu")
    third.sees("seat")
    assert third.reads("place") == "앞에 1명"

    hub.kill()
    second.sees("reconnecting")
    third.sees("reconnecting")
    hub.gpus(1)
    hub.start()
    second.sees("seat")
    third.sees("seat")
    expect(second.page.locator("#queue-place")).to_have_text("다음이 내 차례예요")
    expect(third.page.locator("#queue-place")).to_have_text("앞에 1명")
    assert hub.holders() == {"s01"}

    second.page.click("#cpu")
    second.is_in()
    expect(third.page.locator("#queue-place")).to_have_text("다음이 내 차례예요")
    assert hub.holders() == {"s01"}

    first.stops_server()
    third.is_in()
    assert hub.holders() == {"s03"}


def test_prometheus_reads_the_queue_with_an_operators_token(browser: Browser, hub: BrokerHub) -> None:
    operator = enter(browser, hub, "op")
    answer = operator.api("POST", "users/op/tokens", {"scopes": ["read:metrics"], "note": "prometheus"})
    assert httpx.get(f"{hub.url}/metrics").status_code == 403
    read = httpx.get(f"{hub.url}/metrics", headers={"Authorization": f"token {answer['token']}"})
    assert read.status_code == 200
    lines = read.text.splitlines()
    assert 'gpuclass_seats{state="active"} 1.0' in lines
    assert "gpuclass_gpus_known 1.0" in lines
    assert 'gpuclass_wait_seconds_count{gpu="yes"} 1.0' in lines, "s03, since the hub was started again"
