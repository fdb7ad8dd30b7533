"""Sends what is in the outbox: oldest first, one sender at a time, each until there is a receipt or a definite no.

Used by the plugin while somebody waits, and by the user's server for what could not be sent then. Needs no nbgrader.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuclass.exchange.client.connection import Connection, Refused, from_environment
from gpuclass.exchange.client.following import follow
from gpuclass.exchange.client.outbox import Opener, Outbox, Press
from gpuclass.exchange.client.receipts import receipt_line
from gpuclass.exchange.client.upload import Changed, Upload
from gpuclass.exchange.messages import LANGUAGES, Language, say


@dataclass(frozen=True)
class Sent:
    """What became of a press: a receipt, or why the exchange will never take it."""

    press: Press
    receipt: Mapping[str, Any] | None
    refusal: str = ""


def send(connection: Connection, press: Press, openers: list[Opener], *, queued: bool) -> dict[str, Any]:
    """Send one press; its receipt.

    Raises:
        Refused: the exchange said no, or could not be asked.
        Changed: a file is not what it was.
    """
    return connection.upload(
        "gpuclass",
        "v1",
        "submission",
        press.course,
        press.assignment,
        key=press.key,
        body=lambda: Upload(press, openers, queued=queued),
    )


class Sender:
    """Empties an outbox; only whoever holds its ``sending`` may."""

    def __init__(self, outbox: Outbox, connection: Connection, language: Language, zone: str) -> None:
        self.outbox = outbox
        self.connection = connection
        self.language = language
        self.zone = zone

    def send(self, press: Press, *, queued: bool) -> Sent:
        """Send one kept press, and let it go if that is decided.

        What had waited and is refused is set aside, not removed: the work folder may have changed since.

        Raises:
            Refused: it could not be sent, and stays.
        """
        openers = [self._opener(press, index) for index in range(len(press.files))]
        try:
            receipt = send(self.connection, press, openers, queued=queued)
        except Refused as refusal:
            if refusal.passes:
                raise
            sent = Sent(press, None, str(refusal))
        except Changed:
            sent = Sent(press, None, say(self.language, "outbox.damaged"))
        else:
            sent = Sent(press, receipt)
            self.outbox.remember(press, receipt)
        if queued and sent.receipt is None:
            self.outbox.set_aside(press)
        else:
            self.outbox.remove(press)
        return sent

    def _opener(self, press: Press, index: int) -> Opener:
        return lambda: self.outbox.open(press, index)

    def send_earlier(self, than: Press | None = None) -> list[Sent]:
        """Send what waits, oldest first, up to one press or all; Lab tells what became of it.

        Raises:
            Refused: something could not be sent; it and what came after it stay.
        """
        done = []
        self.outbox.set_unreadable_aside()
        for press in self.outbox.pending():
            if than is not None and press.folder >= than.folder:
                break
            sent = self.send(press, queued=True)
            self.tell(sent)
            done.append(sent)
        return done

    def tell(self, sent: Sent) -> None:
        """Have Lab show what became of something that had waited."""
        press = sent.press
        texts = {}
        if sent.receipt is not None:
            follow(self.outbox.corner, press.course, sent.receipt["submission"], time.time())
        for language in LANGUAGES:
            if sent.receipt is not None:
                line = receipt_line(language, self.zone, press.assignment, sent.receipt)
                texts[language] = say(language, "outbox.sent", receipt=line)
            else:
                texts[language] = say(language, "outbox.refused", assignment=press.assignment, reason=sent.refusal)
        level = "info" if sent.receipt is not None else "error"
        self.outbox.corner.tell(f"press-{press.key}", level, texts["ko"], texts["en"], time.time())


def send_what_waits(home: Path, environ: Mapping[str, str] = os.environ) -> bool:
    """Try once to send everything in the outbox; whether something is left there to be tried again."""
    outbox = Outbox(home)
    language: Language = "en" if environ.get("GPUCLASS_LANGUAGE") == "en" else "ko"
    with outbox.sending(wait_s=0) as mine:
        if not mine:
            return True  # somebody is at it
        try:
            connection = from_environment(language, environ, patience_s=0)
        except Refused:
            return False  # not a class's server
        try:
            Sender(outbox, connection, language, environ.get("GPUCLASS_TIMEZONE") or "UTC").send_earlier()
        except Refused:
            pass
        finally:
            connection.close()
    return bool(outbox.pending())
