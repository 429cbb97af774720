"""Pages in a real browser: Chromium without a window, and everything it complains about."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

_HARMLESS = "GPU stall due to ReadPixels"  # of Chromium's software renderer, about its own speed


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; skips the test where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Shown:
    """A page as a reader has it before them."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of the console, and requests for anything but the page itself."""

    def wait_until_drawn(self) -> None:
        self.page.wait_for_selector("html[data-drawn=all]", state="attached")

    def wait_for(self, expression: str) -> object:
        """The expression's value, once it is true; Playwright's own way would need eval, which the page forbids."""
        for _ in range(200):
            if value := self.page.evaluate(expression):
                return value
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {expression}")

    def sizes_of_figures(self) -> dict[str, tuple[float, float]]:
        """Width and height of what was drawn in each figure's place; 0 where nothing was."""
        return self.page.evaluate(
            """() => Object.fromEntries([...document.querySelectorAll(".plot")].map((place) => {
                const box = (place.querySelector("svg.main-svg") ?? new Image()).getBoundingClientRect();
                return [place.id, [box.width, box.height]];
            }))"""
        )

    @property
    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - innerWidth")


@contextlib.contextmanager
def shown(browser: Browser, address: str, *, width: int = 1280, **options: object) -> Iterator[Shown]:
    """A page opened in a window of its own."""
    context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce", **options)
    page = context.new_page()
    found = Shown(page)
    origin = address if address.startswith("file:") else address.rstrip("/") + "/"

    def decide(route: Route) -> None:
        if route.request.url.startswith((origin, "data:", "blob:")):
            route.continue_()
        else:
            found.complaints.append(f"asked for {route.request.url}")
            route.abort()

    page.route("**/*", decide)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            found.complaints.append(message.text)
            if message.type in ("error", "warning") and _HARMLESS not in message.text
            else None
        ),
    )
    page.goto(address)
    yield found
    context.close()
