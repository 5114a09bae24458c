"""The user's account: from the environment or the system's keyring, never shown, logged or written to a file."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from engine.core.errors import InputError
from engine.crawling.credentials import find_secret, keep_secret

USER_VARIABLE, PASSWORD_VARIABLE = "ORIEL_SKETCHFAB_USER", "ORIEL_SKETCHFAB_PASSWORD"
SITE_VARIABLE = "ORIEL_SKETCHFAB_SITE"
_SECRET = "sketchfab-account"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Account:
    """Who logs in, and where; does not show itself when it is printed."""

    user: str = field(repr=False)
    password: str = field(repr=False)
    site: str = "https://sketchfab.com"
    """The one site that is given the password."""

    def belongs_to(self, url: str) -> bool:
        """Whether a page may be given the password: it is of the account's site, and nobody can listen."""
        own, asked = urlsplit(self.site), urlsplit(url)
        host = asked.hostname or ""
        if host in LOOPBACK:
            return (host, asked.port) == (own.hostname, own.port)
        return asked.scheme == "https" and (host == own.hostname or host.endswith(f".{own.hostname}"))


def find_account() -> Account | None:
    """The account of the environment or the keyring; None if there is none, InputError for half a one."""
    user, password = os.environ.get(USER_VARIABLE, "").strip(), os.environ.get(PASSWORD_VARIABLE, "")
    if bool(user) != bool(password):
        missing = PASSWORD_VARIABLE if user else USER_VARIABLE
        raise InputError(f"{USER_VARIABLE} and {PASSWORD_VARIABLE} belong together: {missing} is not set.")
    if not user:
        try:
            kept = json.loads(find_secret(_SECRET) or "{}")
            user, password = str(kept.get("user", "")), str(kept.get("password", ""))
        except (ValueError, AttributeError):  # another program's entry
            return None
    site = os.environ.get(SITE_VARIABLE, "").strip() or Account.site
    return Account(user, password, site) if user and password else None


def store_account(account: Account | None) -> None:
    """Put user name and password into the system's keyring, or take them out (None)."""
    kept = None
    if account is not None:
        kept = json.dumps({"user": account.user.strip(), "password": account.password})
    keep_secret(_SECRET, kept, f"{USER_VARIABLE} and {PASSWORD_VARIABLE}")
