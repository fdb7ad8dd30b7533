"""What a streaming upload says of itself before its files come. Pure; the first part of the form, as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from gpuclass.exchange.service.errors import Refusal
from gpuclass.exchange.wire import read_time

MANIFEST_LIMIT = 2**20  # bytes
VERSION_LIMIT = 2**31  # more is no release's number, and no database's integer
EARLIEST_YEAR = 2000  # of a press; a clock before it is not set


def _press(value: object) -> object:
    if not isinstance(value, str):
        return value
    moment = read_time(value)
    if moment.year < EARLIEST_YEAR:
        raise ValueError("a clock that is not set")
    return moment


Press = Annotated[
    datetime,
    BeforeValidator(_press),
    WithJsonSchema({"type": "string", "examples": ["2026-11-23 09:00:00.000000 UTC"]}),
]


class Entry(BaseModel):
    """One file that will come."""

    model_config = ConfigDict(strict=True, frozen=True)

    path: str = Field(description="inside the submission, `/` between folders")
    size: int = Field(ge=0, description="bytes")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the content, in lower-case hex")


class Manifest(BaseModel):
    """What a submission will be."""

    model_config = ConfigDict(strict=True, frozen=True)

    files: list[Entry] = Field(min_length=1, description="in the order in which they come")
    version: int | None = Field(None, ge=1, lt=VERSION_LIMIT, description="of the assignment, which it answers")
    queued: Press | None = Field(
        None, description="when it was pressed, by the sender's clock, if it could not be sent at once"
    )


def read_manifest(text: bytes | bytearray) -> Manifest:
    """The manifest in ``text``; keys that are not known are left out, so that clients can be newer.

    Raises:
        Refusal: 400, it is none; the hint says where.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "manifest"
        raise Refusal(400, "The manifest cannot be read", f"{place}: {first['msg']}"[:500], reason="form") from None
