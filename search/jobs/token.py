"""The token that a cluster wants to see, found where Ray itself looks for it. It is never printed or recorded."""

from __future__ import annotations

import os
from pathlib import Path

from search.errors import UsageError

MODE, VALUE, FILE = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
DEFAULT_FILE = Path(".ray") / "auth_token"
"""In the home folder."""


def token() -> str | None:
    """The token of this user; None where there is none, or where ``RAY_AUTH_MODE`` says that none is wanted.

    Ray itself sends a token only with ``RAY_AUTH_MODE=token``. Here a token that is there is enough.

    Raises:
        UsageError: The file that ``RAY_AUTH_TOKEN_PATH`` names cannot be read.
    """
    if os.environ.get(MODE, "token").lower() != "token":
        return None
    if value := os.environ.get(VALUE, "").strip():
        return value
    named = os.environ.get(FILE)
    try:
        return Path(named or Path.home() / DEFAULT_FILE).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        if not named:
            return None
        raise UsageError(f"{FILE} must name a file with the cluster's token, but there is no file {named}") from None
    except (OSError, UnicodeDecodeError) as error:
        where = named or Path.home() / DEFAULT_FILE
        raise UsageError(f"the file with the cluster's token must be readable, but {where} is not: {error}") from error
