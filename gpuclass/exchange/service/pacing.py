"""How often and how much at once one person may send, said to them in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from gpuclass.exchange.service.bounds import Bounds
from gpuclass.exchange.service.errors import Refusal
from gpuclass.exchange.service.limits import AtOnce, PerMinute, TooFast, TooMany

UPLOADS_AT_ONCE = 2  # of one person
QUESTIONS_AT_ONCE = 6  # of one person: streaming uploads of which only the manifest is here, or less
BUSY_S = 5  # after which to try again


class Pacing:
    """Counts for each person; nobody's counts touch another's.

    Args:
        bounds: with the number of submissions in a minute.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._per_minute = PerMinute(bounds.limits.per_minute)
        self._uploads = AtOnce(UPLOADS_AT_ONCE)
        self._questions = AtOnce(QUESTIONS_AT_ONCE)

    def count_submission(self, login: str) -> None:
        """Count a submission of this person.

        Raises:
            Refusal: 429, too many in a minute.
        """
        try:
            self._per_minute.take(login)
        except TooFast as refusal:
            text = self._bounds.say("rate", limit=self._bounds.limits.per_minute, seconds=refusal.wait)
            raise Refusal(429, text, headers={"Retry-After": str(refusal.wait)}, reason="rate") from None

    @contextmanager
    def uploading(self, login: str) -> Iterator[None]:
        """While content of this person comes.

        Raises:
            Refusal: 429, as much as is allowed is under way.
        """
        with self._one(self._uploads, login):
            yield

    @contextmanager
    def asking(self, login: str) -> Iterator[None]:
        """While a request of this person is read up to its manifest: not yet content, and small.

        Raises:
            Refusal: 429, as many as are allowed are under way.
        """
        with self._one(self._questions, login):
            yield

    @contextmanager
    def _one(self, places: AtOnce, login: str) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                stack.enter_context(places.one(login))
            except TooMany:
                headers = {"Retry-After": str(BUSY_S)}
                raise Refusal(429, self._bounds.say("busy"), headers=headers, reason="busy") from None
            yield
