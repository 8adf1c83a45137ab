"""Every widget on one real page: it says at once that it works, changes as a whole, and keeps focus and letter keys."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driver import PATIENCE, Lab, open_notebook, run_all, screenshot
from tests.browser.test_harness import demo

SHARED = """
import pcvr
from pcvr.analysis.attention import attend
from pcvr.experiments.grid import read_grid
from pcvr.experiments.standings import standings
from pcvr.experiments.standings import main_sheet
from pcvr.widgets.ask import ask_widget
from pcvr.widgets.attack_lab import lab_explorer
from pcvr.widgets.attackers import attacker_explorer
from pcvr.widgets.attend import attention_explorer
from pcvr.widgets.distributions import TraceSource, distribution_explorer
from pcvr.widgets.explorer import grid_explorer
from pcvr.widgets.explorer_source import GridSource
from pcvr.widgets.premise import PairSource, premise_explorer
from pcvr.widgets.standings import league_explorer
from pcvr.widgets.trigger import trigger_explorer

data, attack, model = pcvr.open_data("scenes", n=6), pcvr.get_attack("badnets"), pcvr.load("tiny-llava")
samples = [data[i] for i in range(3)]
"""
WIDGETS = {
    "trigger": "trigger_explorer(data)",
    "lab": "lab_explorer(data)",
    "attackers": "attacker_explorer(data, ())",
    "attention": "attention_explorer([attend(model, each.image, 'list the objects.') for each in samples])",
    "ask": "ask_widget(model)",
    "premise": "premise_explorer(PairSource(model, samples, attack))",
    "distributions": "distribution_explorer(TraceSource({'base': model}, samples, attack))",
    "grid": "grid_explorer(GridSource(read_grid()))",
    "league": "league_explorer({'caption': standings(main_sheet('caption'))})",
}
_WATCH = """box => {
    const now = () => [box.innerText.includes("Working …"), box.querySelector(".widget-html [role]")?.innerText,
                       [...box.querySelectorAll("img.widget-image")].map(image => image.src).join()];
    box.seen = [[performance.now(), ...now()]];
    const look = () => {
        const [is, was] = [now(), box.seen.at(-1).slice(1)];
        if (is.some((part, k) => part !== was[k])) box.seen.push([performance.now(), ...is]);
    };
    new MutationObserver(look).observe(box, {subtree: true, childList: true, attributes: true, characterData: true});
}"""
_TOGETHER = 3000  # milliseconds between a new text and its picture, on a machine with much other work


@pytest.fixture(scope="module")
def shown(browser: Any, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A page with every widget, in the order of `WIDGETS`."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    cells = [SHARED, *(f"{code}[0]" for code in WIDGETS.values())]
    open_notebook(page, lab, lab.add(demo(tmp_path_factory.mktemp("manners") / "manners.ipynb", cells)))
    run_all(page)
    yield page
    context.close()


@pytest.mark.parametrize("name", WIDGETS)
def test_a_widget_minds_its_manners(shown: Page, name: str) -> None:
    box = shown.locator(".pcvr-widget").nth(list(WIDGETS).index(name))
    box.scroll_into_view_if_needed()
    sliders, lists = box.locator(".noUi-handle"), box.locator("select")
    for k in range(sliders.count()):
        expect(sliders.nth(k)).to_have_attribute("aria-label", box.locator(".widget-slider label").nth(k).inner_text())

    cells = shown.locator(".jp-Cell").count()
    if lists.count():
        expect(lists.first).to_have_value(re.compile("."))  # it shows which option is chosen
        chosen = lists.first.input_value()
        lists.first.focus()
        for key in ("x", "b", "d", "d"):
            shown.keyboard.press(key)
        assert shown.locator(".jp-Cell").count() == cells, "a letter in a list is no command of JupyterLab"
        lists.first.select_option(chosen)
        shown.wait_for_function("box => !box.innerText.includes('Working …')", arg=box.element_handle())

    moved = sliders.first if sliders.count() else box.locator("input[type=checkbox]").first
    box.evaluate(_WATCH)
    moved.focus()
    at_end = moved.get_attribute("aria-valuenow") == moved.get_attribute("aria-valuemax")
    moved.press("Space" if not sliders.count() else "ArrowLeft" if at_end else "ArrowRight")
    shown.wait_for_function("box => box.seen.length > 2 && !box.seen.at(-1)[1]", arg=box.element_handle())
    shown.wait_for_timeout(300)
    screenshot(shown, f"manners-{name}")
    seen = box.evaluate("box => box.seen")
    working = [k for k, (_, busy, *_rest) in enumerate(seen) if busy]
    assert working == [1] or working == list(range(1, len(working) + 1)), "it says first that it works, and once"
    parts = [[k for k in range(1, len(seen)) if seen[k][part] != seen[k - 1][part]][-1:] for part in (2, 3)]
    times = [seen[part[0]][0] for part in parts if part]
    assert max(times) - min(times) < _TOGETHER, f"text and picture change together: {seen}"
    assert moved.evaluate("part => part === document.activeElement"), "the focus stays where it was"
