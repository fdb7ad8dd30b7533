"""What a submission may be: how many files, how named, how large. What is over is refused with the number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gpuclass.exchange.messages import Language, megabytes, say
from gpuclass.exchange.names import DEPTH_LIMIT, UnsafeName, file_paths
from gpuclass.exchange.service.errors import Refusal
from gpuclass.settings import ExchangeSection


class Bounds:
    """The limits of one class.

    Args:
        limits: ``settings.exchange``.
        language: of the refusals.
    """

    def __init__(self, limits: ExchangeSection, language: Language) -> None:
        self.limits = limits
        self._language = language

    def check_count(self, count: int) -> None:
        """How many files there may be.

        Raises:
            Refusal: 413.
        """
        if count > self.limits.files_limit:
            raise Refusal(413, self.say("size.count", count=count, limit=self.limits.files_limit), reason="count")

    def paths(self, texts: Iterable[str]) -> list[str]:
        """The safe forms of all paths, in the same order.

        Raises:
            Refusal: 400 in ngshare's words, with a hint for the person.
        """
        try:
            return file_paths(texts)
        except UnsafeName as error:
            hint = self.say(f"name.{error.reason}", name=error.name, limit=DEPTH_LIMIT)
            raise Refusal(400, "Illegal path", hint, reason="name") from None

    def check_sizes(self, sizes: Mapping[str, int]) -> None:
        """How large each file, by its path, and all together may be.

        Raises:
            Refusal: 413.
        """
        for path, size in sizes.items():
            if size > self.limits.file_limit:
                shown = {"size": megabytes(size), "limit": megabytes(self.limits.file_limit)}
                raise Refusal(413, self.say("size.file", name=path, **shown), reason="size")
        total = sum(sizes.values())
        if total > self.limits.submission_limit:
            shown = {"size": megabytes(total), "limit": megabytes(self.limits.submission_limit)}
            raise Refusal(413, self.say("size.submission", **shown), reason="size")

    def full(self, used: int) -> Refusal:
        """The refusal when a student's room is full, ``used`` bytes of it before this one."""
        shown = {"used": megabytes(used), "limit": megabytes(self.limits.student_limit)}
        return Refusal(413, self.say("quota", **shown), reason="quota")

    def too_large(self, limit: int | None = None) -> Refusal:
        """The refusal of a request that is larger than any allowed one could be."""
        limit = min(limit or self.limits.submission_limit, self.limits.submission_limit)
        return Refusal(413, self.say("size.request", limit=megabytes(limit)), reason="size")

    def say(self, key: str, **values: object) -> str:
        """A text of ``messages`` in the class's language."""
        return say(self._language, key, **values)
