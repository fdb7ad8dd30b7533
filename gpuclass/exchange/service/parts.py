"""A multipart form taken apart while it comes: pushed in as bytes, out come its parts' names and contents. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gpuclass.exchange.service.errors import Refusal

NAME_LIMIT = 100  # bytes of a part's name that an error repeats


@dataclass(frozen=True)
class Part:
    """A part begins; its content follows in pieces, then ``PART_END``."""

    name: str


class PartEnd:
    """A part is over."""


PART_END = PartEnd()
Event = Part | bytes | PartEnd


class Parts:
    """The parts of one form.

    Args:
        boundary: what its ``Content-Type`` says stands between them.
    """

    def __init__(self, boundary: bytes | None) -> None:
        if not boundary:
            raise unreadable()
        self._events: list[Event] = []
        self._headers: list[tuple[bytearray, bytearray]] = []
        self._complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_begin": lambda: self._headers.append((bytearray(), bytearray())),
                    "on_header_field": lambda data, start, end: self._headers[-1][0].extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._headers[-1][1].extend(data[start:end]),
                    "on_headers_finished": lambda: self._events.append(Part(self._name())),
                    "on_part_data": lambda data, start, end: self._events.append(data[start:end]),
                    "on_part_end": lambda: self._events.append(PART_END),
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise unreadable() from None

    def feed(self, data: bytes) -> Iterator[Event]:
        """What ``data`` completes or continues.

        Raises:
            Refusal: 400, it is no form.
        """
        try:
            self._parser.write(data)
        except FormParserError:
            raise unreadable() from None
        events, self._events = self._events, []
        return iter(events)

    def finish(self) -> None:
        """Nothing more will come.

        Raises:
            Refusal: 400, something is missing at its end.
        """
        if not self._complete:
            raise Refusal(400, "The request ended early", reason="form")

    def _end(self) -> None:
        self._complete = True

    def _name(self) -> str:
        for field, value in self._headers:
            if bytes(field).lower() == b"content-disposition":
                _, options = parse_options_header(bytes(value))
                return options.get(b"name", b"").decode(errors="replace")[:NAME_LIMIT]
        return ""


def unreadable() -> Refusal:
    """The refusal of a body that is not the form it should be."""
    return Refusal(400, "The form cannot be read", reason="form")
