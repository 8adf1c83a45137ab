"""A JupyterLab and a browser for the tests of this folder."""

import os
import shutil

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.driver import PATIENCE, ROOT, Lab, running_lab

expect.set_options(timeout=PATIENCE * 1000)
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser/" in item.path.as_posix():
            for mark in (pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(1800)):
                item.add_marker(mark)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium; the tests are skipped where there is none, but never in continuous integration."""
    given = os.environ.get("PCVR_CHROMIUM")
    found = given if given and shutil.which(given) else next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        reason = "no Chromium: install it, or set PCVR_CHROMIUM to its path"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session")
def browser(chromium: str):
    """Headless Chromium."""
    with sync_playwright() as playwright:
        # No sandbox: inside a container root has none.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser):
    """A page with a fresh profile."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page: Page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    yield page
    context.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory, chromium: str):
    """JupyterLab on a copy of notebooks/."""
    with running_lab(tmp_path_factory.mktemp("lab"), ROOT / "notebooks") as lab:
        assert isinstance(lab, Lab)
        yield lab
