"""Errors that a user can cause, and cancellation."""

from collections.abc import Sequence


class OrielError(Exception):
    """Something a user can put right.

    The text says what was wrong, with what, and what to do next. The window shows it in place;
    the command line prints it without a traceback and exits with 2.
    """

    def __init__(self, what: str, *, advice: str = "", options: Sequence[str] = ()) -> None:
        """`advice` is what to do next. Each `{}` in it stands for one of `options`: words that name an option of the
        command line, as ` (--resume)`, and that the window leaves out."""
        told = advice.format(*options) if options else advice
        super().__init__(_joined(what, told))
        self.what = what
        self.plain = _joined(what, advice.format(*("" for _ in options)) if options else advice)
        """The text as the window says it."""


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


class InputError(OrielError):
    """A picture, mask or option that cannot be used."""


class OutputError(OrielError):
    """A folder or file that cannot be written (missing rights, full disk)."""


class WeightsError(OrielError):
    """Model weights that are missing, damaged or of another model."""


class EmptyResultError(OrielError):
    """A stage that ran and found nothing to hand on (no surface, no foreground)."""


class Cancelled(Exception):
    """Raised inside a long job after its `CancelToken` was cancelled. Not an error."""
