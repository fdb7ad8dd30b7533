"""nbgrader's exchange for students: submit. What is pressed is kept in the home before it is sent; see ``outbox``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NoReturn

from nbgrader.exchange import abc
from nbgrader.exchange.abc import ExchangeError

from gpuclass.exchange.client.connection import SUBMIT_PATIENCE_S, Refused
from gpuclass.exchange.client.folder import NotAFolder, open_plain
from gpuclass.exchange.client.following import follow
from gpuclass.exchange.client.outbox import NoRoom, Opener, Outbox, Piece, Press, described, new_key
from gpuclass.exchange.client.plugin import Exchange, notebooks_of
from gpuclass.exchange.client.receipts import receipt_line
from gpuclass.exchange.client.sender import Sender, send
from gpuclass.exchange.client.upload import Changed, Unreadable
from gpuclass.exchange.messages import LANGUAGES, say
from gpuclass.exchange.wire import show_time

LIMITS = {"submission_limit": 50 * 2**20, "file_limit": 25 * 2**20, "files_limit": 100}
"""Until the exchange has said its own; as in gpuclass.settings, which is not in the containers."""


class ExchangeSubmit(Exchange, abc.ExchangeSubmit):  # type: ignore[misc]  # nbgrader has no types
    """Send the student's folder; done once there is a receipt."""

    def init_src(self) -> None:
        """Find the folder; nbgrader allows a path for the assignment's name."""
        self.coursedir.assignment_id = Path(self.coursedir.assignment_id).name
        self.src_path = self.work_folder(self.assignment)
        if not (self.src_path.is_symlink() or self.src_path.exists()):
            self.fail(self.say("client.no_folder", folder=self.src_path.name))

    @cached_property
    def _outbox(self) -> Outbox:
        return Outbox(self.corner.home)

    @cached_property
    def _openers(self) -> dict[str, Opener]:
        """How to open each file of the press that is sent, by its path."""
        return {}

    def copy_files(self) -> None:
        """Submit."""
        self.connection.patience_s = SUBMIT_PATIENCE_S
        with self._outbox.sending(SUBMIT_PATIENCE_S) as mine:
            limits = self.limits or LIMITS
            press, again = self._press_within(limits)
            if not mine:  # another sender is at a long one, and takes this one next
                finished = self._outbox.receipt(press)  # or has just sent this very one
                if finished is None:
                    self._wait(press, self.say("outbox.turn"))
                self._submitted(finished)
                return
            try:
                item = self.known(self.assignment)
                if not again and self.limits != limits:
                    self._outbox.remove(press)
                    press, again = self._press(self.limits)
                self._check(item, press)
                receipt = self._send(press, queued=again)
            except Refused as refusal:
                if refusal.passes:
                    self._wait(press, self._why(refusal))
                self._outbox.remove(press)
                raise
            except ExchangeError:
                self._outbox.remove(press)
                raise
        self._submitted(receipt)
        self.bring(item)
        self._warn_of_copies()

    def _submitted(self, receipt: Mapping[str, Any]) -> None:
        self.timestamp = receipt["timestamp"]
        follow(self.corner, self.course, receipt["submission"], time.time())
        line = receipt_line(self.spoken, self.timezone, self.assignment, receipt)
        self.log.info(self.say("client.submitted", receipt=line))

    def _press_within(self, limits: Mapping[str, int]) -> tuple[Press, bool]:
        """This press, within the limits that are remembered or, where that is too much, those of now."""
        try:
            return self._press(limits)
        except ExchangeError:
            with suppress(Refused):
                if self.course_overview["limits"] != limits:
                    return self._press(self.limits)
            raise

    def _press(self, limits: Mapping[str, int]) -> tuple[Press, bool]:
        """This press, kept if the home has room for it; or an earlier one of the same content, and then True."""
        found = self.scan_folder(self.src_path, limits)
        self._openers = {path: partial(open_plain, self.src_path, plain.path) for path, plain in found.items()}
        press = Press(
            new_key(),
            self.course,
            self.assignment,
            show_time(datetime.now(UTC)),
            tuple(Piece(path, plain.size, "") for path, plain in found.items()),
            self.versions(self.assignment).answered(),
        )
        here = [other for other in self._outbox.pending() if place_of(other) == place_of(press)]
        if here and here[-1].same_as(self._described(press)):
            return here[-1], True
        try:
            return self._outbox.keep(press, self._openers), False
        except (NoRoom, OSError, NotAFolder):
            return self._described(press), False  # sent all the same, from where it lies

    def _described(self, press: Press) -> Press:
        """The press with what its files are now."""
        try:
            files = tuple(described(piece.path, self._openers[piece.path]) for piece in press.files)
        except OSError:
            self.not_sent("client.changed")
        return replace(press, files=files)

    def _check(self, item: Mapping[str, Any], press: Press) -> None:
        """That the assignment's notebooks are in it: ``strict`` demands them."""
        there = {piece.path for piece in press.files}
        missing = ", ".join(f"{name}.ipynb" for name in notebooks_of(item) if f"{name}.ipynb" not in there)
        if missing and self.strict:
            self.not_sent("client.missing", names=missing)
        if missing:
            self.log.warning(self.say("client.missing", names=missing))

    def _send(self, press: Press, *, queued: bool) -> Mapping[str, Any]:
        """Send what waits from before, then this press; its receipt.

        Raises:
            Refused: it is not sent.
        """
        sender = Sender(self._outbox, self.connection, self.spoken, self.timezone)
        if not press.folder:
            sender.send_earlier()
            try:
                return send(self.connection, press, [self._openers[piece.path] for piece in press.files], queued=False)
            except Changed:
                self.not_sent("client.changed")
        sender.send_earlier(press)
        sent = sender.send(press, queued=queued)
        if sent.receipt is None:
            self.fail(self.say("client.not_submitted", reason=sent.refusal))
        return sent.receipt

    def _wait(self, press: Press, reason: str) -> NoReturn:
        """Say that it is not sent yet, and whether it is kept: never what looks like success."""
        if not press.folder:
            self.not_sent("outbox.not_kept", reason=reason)
        self._outbox.mark(press)
        count = len(self._outbox.waiting(time.time()))
        self.fail(self.say("outbox.waits", reason=reason, count=count))

    def _why(self, refusal: Refused) -> str:
        if isinstance(refusal, Unreadable):
            return self.say("outbox.unreadable")
        if refusal.status in (302, 507):
            return str(refusal)
        return self.say("outbox.busy" if refusal.status == 429 else "outbox.unreachable")

    def _warn_of_copies(self) -> None:
        """What was handed in is not the copy that the student worked in."""
        for path, copy in self.versions(self.assignment).edited_beside().items():
            texts = {language: say(language, "version.copy", path=path, copy=copy) for language in LANGUAGES}
            self.announce(f"copy-{self.course}-{self.assignment}-{copy}", "warning", texts)


def place_of(press: Press) -> tuple[str, str]:
    """Course and assignment."""
    return press.course, press.assignment
