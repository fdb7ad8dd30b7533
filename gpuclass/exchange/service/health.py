"""Whether the service can take a submission now: tried, not guessed. Everybody may ask, so it is tried rarely."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Literal

from sqlalchemy.exc import SQLAlchemyError

from gpuclass.exchange.store.store import DiskFull, Store

log = logging.getLogger(__name__)

FRESH_S = 2.0  # an answer is good for so long: monitors ask every few seconds, and anybody else may ask all the time

Trouble = Literal["disk-full", "disk", "database"]


class Health:
    """Looks whether ``store`` can be written.

    Args:
        store: the exchange's.
        clock: seconds that only grow.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._trying = threading.Lock()
        self._found: Trouble | None = None
        self._at = float("-inf")

    def trouble(self) -> Trouble | None:
        """Why submissions cannot be taken, None while they can.

        The disk is full up to the reserve, or cannot be written, or the database cannot.
        """
        if self._clock() - self._at >= FRESH_S and self._trying.acquire(blocking=False):
            try:
                self._found = self._try()
            finally:
                self._at = self._clock()
                self._trying.release()
        return self._found  # while somebody tries, what was found before

    def _try(self) -> Trouble | None:
        try:
            with self._store.draft() as draft:
                draft.write(b"health")
                draft.finish()
            with self._store.writing():
                pass
        except DiskFull:
            return "disk-full"
        except OSError:
            log.exception("the store cannot be written")
            return "disk"
        except SQLAlchemyError:
            log.exception("the database cannot be written")
            return "database"
        return None
