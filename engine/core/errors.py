"""Errors that a user can cause, and cancellation."""


class OrielError(Exception):
    """Something a user can put right.

    The text says what was wrong, with what, and what to do next. The window shows it in place;
    the command line prints it without a traceback and exits with 2.
    """


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
