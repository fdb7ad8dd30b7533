"""What goes wrong with the curriculum, in words for the person who writes or releases it."""

from gpuclass.errors import PlainError


class CurriculumError(PlainError):
    """The curriculum cannot be used as it is; the text says what, what it means, and what to do."""


class SourceError(CurriculumError):
    """A source is at fault; the text opens with its path."""


class ReleaseError(CurriculumError):
    """The curriculum could not be released; the text says what students have meanwhile."""
