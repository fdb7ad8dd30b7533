"""How the service says no."""

from __future__ import annotations

from gpuclass.exchange.messages import Language, say


class Refusal(Exception):  # noqa: N818  # it is raised to refuse
    """An answer of 4xx or 5xx: ``{"success": false, "message": …, "hint": …}``.

    Args:
        status: HTTP's.
        message: ngshare's words where ngshare has some; else what the person should read.
        hint: beside ngshare's words, what the person should read.
        headers: HTTP's, beside the usual.
        reason: one word for it, for counting.
    """

    def __init__(
        self,
        status: int,
        message: str,
        hint: str | None = None,
        headers: dict[str, str] | None = None,
        *,
        reason: str = "request",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.hint = hint
        self.headers = headers
        self.reason = reason


def denied() -> Refusal:
    """Somebody known who may not."""
    return Refusal(403, "Permission denied", reason="denied")


def unknown(language: Language) -> Refusal:
    """Somebody of whom nobody can tell at the moment who they are."""
    return Refusal(503, say(language, "hub"), headers={"Retry-After": "5"}, reason="hub")
