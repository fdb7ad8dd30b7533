"""What goes wrong as an answer: every error has ngshare's shape; what went wrong inside is in the log only."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from gpuclass.accounts import AccountError
from gpuclass.exchange.messages import Language, say
from gpuclass.exchange.names import DEPTH_LIMIT, UnsafeName
from gpuclass.exchange.service.errors import Refusal, unknown
from gpuclass.exchange.service.metrics import Meters
from gpuclass.exchange.store.batches import NotNow
from gpuclass.exchange.store.store import DiskFull, NotFound

log = logging.getLogger(__name__)


def answer_errors(app: FastAPI, language: Language, meters: Meters) -> None:
    """Have ``app`` answer errors in ``language``, and count them."""

    def answer(request: Request, refusal: Refusal) -> Response:
        meters.refused(request, refusal.reason)
        content = {"success": False, "message": refusal.message}
        hint = {"hint": refusal.hint} if refusal.hint else {}
        return JSONResponse({**content, **hint}, refusal.status, headers=refusal.headers)

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> Response:
        return answer(request, error)

    @app.exception_handler(NotFound)
    async def not_found(request: Request, error: NotFound) -> Response:
        return answer(request, Refusal(404, str(error), reason="not-found"))

    @app.exception_handler(NotNow)
    async def not_now(request: Request, error: NotNow) -> Response:
        return answer(request, Refusal(409, str(error), reason="state"))

    @app.exception_handler(UnsafeName)
    async def unsafe_name(request: Request, error: UnsafeName) -> Response:
        text = say(language, f"name.{error.reason}", name=error.name, limit=DEPTH_LIMIT)
        return answer(request, Refusal(400, text, reason="name"))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        [first, *_] = error.errors()
        hint = f"{first['loc'][-1]}: {first['msg']}"
        return answer(request, Refusal(400, "Incorrect request format", hint, reason="form"))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        return answer(request, Refusal(error.status_code, error.detail, headers=dict(error.headers or {})))

    @app.exception_handler(AccountError)
    async def accounts(request: Request, error: AccountError) -> Response:
        log.error("%s", error)
        return answer(request, unknown(language))

    @app.exception_handler(OSError)
    @app.exception_handler(OperationalError)
    async def disk(request: Request, error: OSError | OperationalError) -> Response:
        log.error("the store failed: %s", error, exc_info=None if isinstance(error, DiskFull) else error)
        return answer(request, Refusal(507, say(language, "disk"), reason="disk"))
