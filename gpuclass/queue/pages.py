"""What the hub's pages know of the queue: the choice between GPU and CPU, and whose place is kept. Decides nothing.

The pages themselves are in ``gpuclass/templates``, their words in ``words``. They read the broker and never change it:
whatever a student presses goes through JupyterHub's own API.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gpuclass.errors import UsageError
from gpuclass.gpus.model import State
from gpuclass.queue import words
from gpuclass.queue.admission import Free, Place
from gpuclass.settings import Settings

_PARTS = Environment(
    loader=FileSystemLoader(Path(__file__).parents[1] / "templates" / "parts"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)
_CHOICES = {"yes": True, "no": False}  # values of the buttons in parts/choice.html


class Starting(Protocol):
    """The part of a spawner that pages read."""

    @property
    def role(self) -> str:
        """The role of whose server it is, as in the roster."""


class Queue(Protocol):
    """The part of the broker that pages read."""

    @property
    def reclaimed(self) -> Collection[str]:
        """Whose idle seat was taken since their last start."""

    def place(self, user: str) -> Place | None:
        """Where this person stands; None for not in the queue."""

    def free(self, role: str) -> Free:
        """What there is now for somebody in this role."""


Broker = Callable[[], Queue | None]
"""Gives the broker of this process; None before it is there."""


@dataclass(frozen=True)
class Choice:
    """The lines on the two cards.

    Attributes:
        known: whether the GPUs have been seen lately, so that taking one is the thing to do.
        gpu_now, cpu_now: what somebody who comes now gets.
        gpu_go: what the GPU card's button says.
    """

    known: bool
    gpu_now: str
    gpu_go: str
    cpu_now: str


def choice(free: Free | None, language: words.Language) -> Choice:
    """What the two cards say.

    Args:
        free: what there is; None while the hub does not know yet.
        language: the class's.
    """
    said = words.words(language)
    if free is None or not free.known or not free.gpu_seats:
        return Choice(known=False, gpu_now=said["free-unknown"], gpu_go=said["gpu-wait"], cpu_now=_wait(free, language))
    seats = free.gpu_seats_open
    counted = said["free-one"] if seats == 1 else said["free-many"].format(free=seats)
    total = said["of-seats"].format(seats=free.gpu_seats)
    now = []
    if free.waiting_for_gpu:
        key = "waiting-one" if free.waiting_for_gpu == 1 else "waiting-many"
        now.append(said[key].format(waiting=free.waiting_for_gpu))
    at_once = seats > free.waiting_for_gpu
    if not at_once and free.gpu_seconds is not None:
        now.append(said["wait-time"].format(time=words.duration(free.gpu_seconds, language)))
    return Choice(
        known=True,
        gpu_now="\n".join([f"{counted} ({total})" if seats else said["free-none"], " · ".join(now)]).strip(),
        gpu_go=said["gpu-start" if at_once else "gpu-wait"],
        cpu_now=_wait(free, language),
    )


def _wait(free: Free | None, language: words.Language) -> str:
    said = words.words(language)
    seconds = free.start_seconds if free else None
    if seconds is None or seconds < words.SOON_S:
        return said["at-once"]
    return said["wait-time"].format(time=words.duration(seconds, language))


def options_form(settings: Settings, broker: Broker) -> Callable[[Starting], str]:
    """``Spawner.options_form``: the two cards, as HTML. JupyterHub asks anew for every visit."""
    language = settings.class_.language

    def form(spawner: Starting) -> str:
        queue = broker()
        cards = choice(queue.free(spawner.role) if queue else None, language)
        return _PARTS.get_template("choice.html").render(choice=cards, words=words.words(language))

    return form


def options_from_form(settings: Settings) -> Callable[[Mapping[str, Sequence[str]]], dict[str, bool]]:
    """``Spawner.options_from_form``: the pressed button as the user option ``gpu``.

    JupyterHub also brings options of a link here (``/hub/spawn?opt-gpu=no``).
    """
    said = words.words(settings.class_.language)

    def options(form: Mapping[str, Sequence[str]]) -> dict[str, bool]:
        chosen = [str(value) for value in form.get("gpu", ())]
        if len(chosen) != 1 or chosen[0] not in _CHOICES:
            raise UsageError(said["bad-choice"])
        return {"gpu": _CHOICES[chosen[0]]}

    return options


def template_vars(settings: Settings, broker: Broker) -> dict[str, Any]:
    """``c.JupyterHub.template_vars``: what the class's pages need beside JupyterHub's own values."""

    def place_kept(login: str) -> dict[str, bool] | None:
        """The choice of somebody who stands in the queue while no start of theirs is pending: after a restart."""
        queue = broker()
        place = queue.place(login) if queue else None
        return {"gpu": place.gpu} if place and place.state == State.QUEUED else None

    def reclaimed(login: str) -> bool:
        """Whether somebody's server was stopped because their seat was idle."""
        queue = broker()
        return queue is not None and login in queue.reclaimed

    return {
        "class_title": settings.class_.title,
        "desk": f"{settings.desk_site}/services/desk/",
        "language": settings.class_.language,
        "words": words.words(settings.class_.language),
        "limits": {"soon": words.SOON_S, "seconds": words.SECONDS_UNTIL_S, "minutes": words.MINUTES_UNTIL_S},
        "place_kept": lambda _visitor: place_kept,  # JupyterHub calls what is callable with the visitor, and not more
        "reclaimed": lambda _visitor: reclaimed,
    }
