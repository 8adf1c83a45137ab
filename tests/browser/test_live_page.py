"""A training in a real page: Start begins it, the plot follows by itself, Stop ends it, and the result is there."""

import re

from playwright.sync_api import expect

from tests.browser.driver import open_notebook, run_all, screenshot, source_of, wait_for_change
from tests.browser.test_harness import demo

BOX = """
import pcvr
from pcvr.widgets.live import live_training

data = pcvr.poison(pcvr.open_data("scenes", n=64), pcvr.get_attack("badnets"), 0.1)
box, controls = live_training(
    pcvr.load("tiny-llava"),
    data,
    pcvr.PCVR(gate="two_stage", scan_at=(0.005,)),
    pcvr.TrainConfig(max_steps=2000),
    seconds=0.5,
)
box
"""


def test_a_training_is_watched_and_stopped(page, lab, tmp_path):
    open_notebook(page, lab, lab.add(demo(tmp_path / "live.ipynb", [BOX])))
    run_all(page)
    start, stop = (page.locator("button.jupyter-button").nth(k) for k in range(2))
    expect(start).to_have_text("Start")
    said = page.locator(".widget-html [role=status]")
    plot = page.locator("img.widget-image")
    expect(said).to_have_text("Not started.")
    before = source_of(plot)
    start.click()
    expect(start).to_have_text("Training …")
    expect(start).to_be_focused()  # a disabled button would lose the focus
    expect(said).to_contain_text(re.compile(r"Stage train: step \d+ of 2000"))
    wait_for_change(plot, before)
    expect(said).to_contain_text(re.compile(r"step [2-9]\d of"))  # the gate has looked by now
    screenshot(page, "live")
    stop.click()
    expect(said).to_contain_text(re.compile(r"Stopped at step \d+\."))
    expect(start).to_have_text("Trained")
    expect(stop).to_be_focused()
