"""What the system's keyring keeps for a crawl."""

from __future__ import annotations

from engine.core.errors import OrielError

_SERVICE = "oriel"


def find_secret(name: str) -> str:
    """A secret by its name; empty if there is none."""
    try:
        import keyring

        return keyring.get_password(_SERVICE, name) or ""
    except Exception:  # no keyring on this system, or a locked one
        return ""


def keep_secret(name: str, secret: str | None, instead: str) -> None:
    """Put a secret into the keyring, or take it out (None). OrielError that names the variables to set `instead`."""
    try:
        import keyring
        import keyring.errors
    except ImportError:
        raise OrielError(_unusable("it is not installed", instead)) from None
    try:
        if secret is None:
            keyring.delete_password(_SERVICE, name)
        else:
            keyring.set_password(_SERVICE, name, secret)
    except keyring.errors.PasswordDeleteError:
        pass  # there was none
    except Exception as error:  # every kind of keyring raises kinds of its own
        raise OrielError(_unusable(type(error).__name__, instead)) from None


def _unusable(reason: str, instead: str) -> str:
    return f"The system's keyring cannot be used ({reason}). Set {instead} instead."
