"""Servers asked over HTTP: the key, the address, and what a refusal says. No request is made here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.parse import urlsplit

from data.errors import UserError

KEY_VARIABLES = ("STEPSTAR_API_KEY", "OPENAI_API_KEY")
"""Where the key is looked for; the first that is set counts."""


def error_text(answer: Any, raw: str) -> str:
    """What an error answer says, in one line of at most 300 characters."""
    error = answer.get("error", answer) if isinstance(answer, Mapping) else raw
    message = error.get("message", error) if isinstance(error, Mapping) else error
    return " ".join(str(message).split())[:300]


def retry_after(value: str | None) -> float:
    """Seconds that a `Retry-After` header asks to wait, given as seconds or as a date; 0 where it says nothing."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return 0.0


def api_key() -> str:
    """The API key from the environment; empty where there is none.

    Raises:
        UserError: it cannot be sent.
    """
    name = next((name for name in KEY_VARIABLES if os.environ.get(name, "").strip()), "")
    key = os.environ.get(name, "").strip() if name else ""
    if not (key.isascii() and key.isprintable()):
        # The HTTP library would quote such a header, key and all.
        raise UserError(f"the key in {name} has characters that no header can carry.", "Set it again.")
    return key


def check_url(url: str) -> None:
    """Raise a UserError if a base URL is no address to put paths after, or holds a password."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"base_url '{url}' is no http(s) address.", "Give one such as http://localhost:8000/v1.")
    if parts.query or parts.fragment:
        raise UserError(f"base_url '{url}' goes on after its path.", "Give one such as http://localhost:8000/v1.")
    if parts.username or parts.password:
        raise UserError("base_url holds a user or a password.", f"Take it out; the key belongs in {KEY_VARIABLES[0]}.")
