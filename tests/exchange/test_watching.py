"""What an operator watches: whether the exchange can store, and its metrics."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.exc import OperationalError

from gpuclass.exchange.service.health import FRESH_S, Health
from gpuclass.exchange.store.store import Store
from tests.exchange.conftest import NOTEBOOK, Camp, running, tree
from tests.exchange.streaming import new_key, send

pytestmark = pytest.mark.slow

# Health


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += FRESH_S  # each look is late enough to try again
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path) as made:
        yield made


def test_a_store_that_can_be_written_is_well_and_trying_leaves_nothing(store: Store) -> None:
    assert Health(store).trouble() is None
    assert list(store.incoming.iterdir()) == []
    assert list(store.blobs) == []


def test_a_disk_below_the_reserve_is_full(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with Store(tmp_path, reserve=2 * free) as store:
        assert Health(store).trouble() == "disk-full"


@pytest.mark.parametrize(
    ("method", "error", "trouble"),
    [
        ("draft", OSError(30, "Read-only file system"), "disk"),
        ("writing", OperationalError("BEGIN", {}, Exception("database is locked")), "database"),
    ],
)
def test_trouble_has_a_name_and_is_over_when_it_is_over(
    store: Store, method: str, error: Exception, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = Health(store, clock=Clock())

    def fail() -> Any:
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(store, method, fail)
        assert health.trouble() == trouble
    assert health.trouble() is None


def test_many_questions_are_one_try_and_nobody_waits_for_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[None] = []
    go, begun = threading.Event(), threading.Event()
    draft = store.draft

    def slowly() -> Any:
        tried.append(None)
        begun.set()
        go.wait()
        return draft()

    monkeypatch.setattr(store, "draft", slowly)
    health = Health(store)
    first = threading.Thread(target=health.trouble)
    first.start()
    begun.wait()
    assert [health.trouble() for _ in range(10)] == [None] * 10
    go.set()
    first.join()
    assert [health.trouble() for _ in range(10)] == [None] * 10
    assert len(tried) == 1


def test_the_page_says_that_nothing_can_be_stored_and_why_and_nothing_more(tmp_path: Path) -> None:
    with running(tmp_path) as camp:
        url = f"{camp.settings.exchange_url}/gpuclass/v1/health"
        assert (httpx.get(url).status_code, httpx.get(url).json()) == (200, {"success": True})
        incoming = camp.settings.exchange_folder / "incoming"
        [own] = incoming.iterdir()
        own.rename(tmp_path / "away")  # as good as a disk that was taken out
        answers = [httpx.get(url)]
        while answers[-1].status_code == 200:  # what was found a moment ago is still said
            answers.append(httpx.get(url))
        (tmp_path / "away").rename(own)
        camp.log.write_text("")  # the traceback is meant to be there
        assert answers[-1].status_code == 503
        assert answers[-1].json() == {"success": False, "message": "The exchange cannot store", "reason": "disk"}


def test_below_the_reserve_submissions_are_refused_before_they_come_and_earlier_receipts_are_given_again(
    tmp_path: Path,
) -> None:
    key = new_key()
    with running(tmp_path) as camp:
        camp.by("teacher").post("api/assignment/camp/one", data={"files": tree(NOTEBOOK)})
        first = send(camp.by("student1"), "one", NOTEBOOK, key).json()
    with running(tmp_path, reserve="1000T") as camp:
        for refused in (
            send(camp.by("student1"), "one", NOTEBOOK),
            camp.by("student1").post("api/submission/camp/one", data={"files": tree(NOTEBOOK)}),
        ):
            assert refused.status_code == 507
            assert "it was not submitted" in refused.json()["message"]
        assert send(camp.by("student1"), "one", NOTEBOOK, key).json() == first | {"again": True}
        assert httpx.get(f"{camp.settings.exchange_url}/gpuclass/v1/health").json()["reason"] == "disk-full"
        assert camp.by("student1").get("api/assignment/camp/one").status_code == 200


# Metrics


def read(camp: Camp) -> dict[str, float]:
    """All samples, by name and labels as Prometheus writes them."""
    answer = camp.by("operator").get("gpuclass/v1/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return {name.removeprefix("gpuclass_exchange_"): value for name, value in samples.items()}


def test_metrics_count_what_happened(tmp_path: Path) -> None:
    with running(tmp_path, per_minute=3, file_limit="1K") as camp:
        camp.by("teacher").post("api/assignment/camp/one", data={"files": tree(NOTEBOOK)})
        before = read(camp)
        assert before["submissions_total{outcome=kept}"] == 0
        student, key = camp.by("student1"), new_key()
        for _ in range(2):
            assert send(student, "one", NOTEBOOK, key).is_success
        assert student.post("api/submission/camp/one", data={"files": tree({"a": b"12345"})}).is_success
        assert send(student, "one", {"a": b"x" * 2000}).status_code == 413
        assert [send(student, "one", NOTEBOOK).status_code for _ in range(2)] == [200, 429]
        assert student.get("api/students/camp").status_code == 403
        assert student.get("api/assignments/nothing").status_code == 404
        after = read(camp)
    size = len(NOTEBOOK["warm-up.ipynb"])
    assert {name: after[name] for name in after if name.startswith("submissions_total")} == {
        "submissions_total{outcome=kept}": 3,
        "submissions_total{outcome=again}": 1,
        "submissions_total{outcome=refused}": 2,
    }
    assert {name: after[name] for name in after if name.startswith("refused_total")} == {
        "refused_total{reason=size}": 1,
        "refused_total{reason=rate}": 1,
        "refused_total{reason=denied}": 1,
        "refused_total{reason=not-found}": 1,
    }
    assert after["submitted_bytes_total"] == 2 * size + 5
    assert after["receipt_seconds_count"] == 4
    assert 0 < after["receipt_seconds_sum"] < 60
    assert after["jobs{state=waiting}"] == 3
    assert after["jobs{state=failed}"] == 0
    assert 0 < after["oldest_waiting_seconds"] < 60
    assert after["free_bytes"] > 0
    assert after["hub_questions_total{outcome=answered}"] == camp.hub.asked
    assert after["hub_questions_total{outcome=unreachable}"] == 0


def test_metrics_tell_that_the_hub_cannot_be_reached(tmp_path: Path) -> None:
    with running(tmp_path) as camp:
        read(camp)
        camp.hub.down = True
        assert camp.by("student1").get("api/courses").status_code == 503
        after = read(camp)
        assert after["hub_questions_total{outcome=unreachable}"] == 1
        assert after["refused_total{reason=hub}"] == 1


def test_metrics_are_for_operators_and_name_nobody(camp: Camp, assignment: str) -> None:
    assert send(camp.by("student1"), assignment, NOTEBOOK).is_success
    for login in ("student1", "mentor1", "teacher", "stranger"):
        assert camp.by(login).get("gpuclass/v1/metrics").status_code == 403
    text = camp.by("operator").get("gpuclass/v1/metrics").text
    assert "student" not in text
    assert assignment not in text


def test_every_metric_is_documented(camp: Camp) -> None:
    page = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text(encoding="utf-8")
    names = {name.partition("{")[0].removesuffix("_bucket").removesuffix("_count") for name in read(camp)}
    names = {name for name in names if not name.endswith(("_created", "_sum"))}
    assert [name for name in names if f"`gpuclass_exchange_{name}`" not in page] == []
