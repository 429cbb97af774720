"""Opening a page in the user's browser, where there is one to see it."""

from __future__ import annotations

import os
import sys


def open_page(address: str) -> bool:
    """Opens an address in the default browser, or in that of ``BROWSER``.

    Args:
        address: A ``file:`` or ``http:`` address.

    Returns:
        Whether a browser took it. Without a display, as over ssh, none is asked: it would be one of text that takes
        over the terminal.
    """
    if "BROWSER" not in os.environ:
        if sys.platform in ("darwin", "win32"):
            seen = "SSH_CONNECTION" not in os.environ
        else:
            seen = "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
        if not seen:
            return False
    import webbrowser

    return webbrowser.open(address)
