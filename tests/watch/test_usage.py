"""What the watch publishes is what others read; labels say which seat a container holds."""

import pytest

from gpuclass.gpus.labels import SeatLabels, seat_labels
from gpuclass.gpus.model import Lease, Mode, Seat, State
from gpuclass.network import CLASS_LABEL
from gpuclass.settings import Settings
from gpuclass.watch.usage import DeviceUse, SeatUse, Usage, path_of, read_usage, write_usage

USAGE = Usage(
    "local",
    1000.0,
    (SeatUse("c1", "s001", 1, "GPU-1", 10, None, 2, 999.0, "warned"),),
    (DeviceUse("GPU-1", 80, 40, 3, None),),
    ("Docker does not answer",),
)
SEATS = (Seat("local", "GPU-1", 0, 10), Seat("local", "GPU-1", 2, 10))
LEASE = Lease(7, "s001", State.RESERVED, SEATS, gpu=True, size=2)
OF_CLASS = {CLASS_LABEL: "camp", "gpuclass.user": "s001"}


def test_what_is_published_is_read_while_it_is_fresh(settings: Settings) -> None:
    settings.gpus_folder.mkdir()
    write_usage(settings.gpus_folder, USAGE)
    assert read_usage(settings.gpus_folder, "local", 1030.0) == USAGE
    assert read_usage(settings.gpus_folder, "local", 1031.0) is None
    assert read_usage(settings.gpus_folder, "other", 1000.0) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"engine": "local"}', '{"engine":1,"taken_at":"x","seats":[]}'])
def test_a_file_that_makes_no_sense_is_as_good_as_none(settings: Settings, text: str) -> None:
    settings.gpus_folder.mkdir()
    path_of(settings.gpus_folder, "local").write_text(text)
    assert read_usage(settings.gpus_folder, "local", 1000.0) is None


def test_a_lease_is_found_again_in_its_containers_labels() -> None:
    labels = {**OF_CLASS, **seat_labels(LEASE, Mode.SHARED)}
    assert SeatLabels.read(labels) == SeatLabels("camp", "s001", 7, "local", "GPU-1", (0, 2), 20, Mode.SHARED)


def test_a_container_without_a_gpu_has_no_seat() -> None:
    labels = seat_labels(Lease(8, "s002", State.RESERVED), Mode.SHARED)
    assert labels == {"gpuclass.lease": "8", "gpuclass.mode": "shared"}
    assert SeatLabels.read({**OF_CLASS, **labels}) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"gpuclass.seat.memory": "much"},
        {"gpuclass.seat.memory": "0"},
        {"gpuclass.seat.slots": ""},
        {"gpuclass.seat.slots": "-1"},
        {"gpuclass.seat.device": ""},
        {"gpuclass.mode": "fair"},
        {"gpuclass.lease": ""},
    ],
)
def test_labels_that_we_did_not_write_name_no_seat(wrong: dict[str, str]) -> None:
    assert SeatLabels.read({**OF_CLASS, **seat_labels(LEASE, Mode.SHARED), **wrong}) is None
