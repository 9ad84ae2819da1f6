"""A headless Chromium for the tests, or a clear skip where there is none."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")


@contextmanager
def browser_page(*, width: int = 1600, height: int = 900, **context: object) -> Iterator:
    """Opens one page in a fresh browser profile and closes the browser afterwards.

    Args:
        width: Of the window, in CSS pixels.
        height: Of the window, in CSS pixels.
        **context: Passed to playwright's `new_context`: `color_scheme`, `java_script_enabled`,
            `offline`, ...

    Yields:
        A `playwright.sync_api.Page`.
    """
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed"
    )
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip(f"no browser: install Chromium (looked for {', '.join(NAMES)})")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=list(FLAGS))
        try:
            yield browser.new_context(
                viewport={"width": width, "height": height}, **context
            ).new_page()
        finally:
            browser.close()


def open_report(page, address: str):
    """Opens a report in MLflow's artifact view and returns the sandboxed frame it is in."""
    page.goto(f"{address}?workflowType=machine_learning")
    frame = page.frame_locator("iframe[sandbox]")
    frame.get_by_role("heading", level=1).wait_for(timeout=60_000)
    return frame
