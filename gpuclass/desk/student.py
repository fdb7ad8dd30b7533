"""A student's own page: everything of theirs in one place."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from gpuclass.desk.context import Someone, TheDesk

router = APIRouter()


@router.get("/me")
def me(request: Request, desk: TheDesk, person: Someone) -> Response:
    """The page of whoever asks."""
    return desk.pages.page(request, person, "me.html")
