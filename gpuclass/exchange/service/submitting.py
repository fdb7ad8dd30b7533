"""The streaming submission as an endpoint: ``streams`` receives it, and this shows its receipt."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response

from gpuclass.exchange.service.context import Exchange, Name, Participant, success
from gpuclass.exchange.service.streams import Receipt
from gpuclass.exchange.wire import show_time

router = APIRouter(prefix="/gpuclass/v1", tags=["gpuclass"])

Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        pattern="^[A-Za-z0-9_-]{8,64}$",
        description="the client's own for one press; what is sent again under it is one submission",
    ),
]
FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["manifest", "file"],
                    "properties": {
                        "manifest": {
                            "allOf": [{"$ref": "#/components/schemas/Manifest"}],
                            "description": "first: what will come, as JSON",
                        },
                        "file": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                            "description": "then each file, in the manifest's order, as it is",
                        },
                    },
                },
                "encoding": {"manifest": {"contentType": "application/json"}},
            }
        },
    }
}


@router.post("/submission/{course}/{assignment}", openapi_extra=FORM)
async def submit(request: Request, exchange: Exchange, here: Participant, assignment: Name, key: Key) -> Response:
    """Submit, in a stream. The answer is the receipt: what it names is on disk.

    The same key again brings the first receipt, with `again`.
    """
    receipt = await exchange.streams.receive(request, here.course, assignment, here.login, key)
    exchange.meters.kept(request, receipt.submission)
    return success(**show_receipt(receipt))


def show_receipt(receipt: Receipt) -> dict[str, Any]:
    """A receipt as the client gets it."""
    kept = receipt.submission
    return {
        "submission": kept.id,
        "timestamp": show_time(kept.received),
        "size": kept.size,
        "files": receipt.files,
        "sha256": kept.sha256,
        "version": kept.version,
        "due": None if receipt.due is None else show_time(receipt.due),
        "late": receipt.late,
        "queued": None if kept.queued is None else show_time(kept.queued),
        "again": kept.again,
    }
