"""What all errors have in common that a person can do something about."""


class PlainError(Exception):
    """Its text says what happened and what to do next; the command line prints it without a traceback."""

    exit_code = 1


class UsageError(PlainError):
    """What was asked for cannot be done as it was asked."""

    exit_code = 2
