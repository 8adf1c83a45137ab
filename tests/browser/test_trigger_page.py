"""Notebook 02 in a real JupyterLab: it runs through, the trigger follows its sliders, and so does the attack lab."""

import re

from playwright.sync_api import expect

from tests.browser.driver import (
    ROOT,
    choose,
    figure_texts,
    open_notebook,
    run_all,
    screenshot,
    set_slider,
    source_of,
    wait_for_change,
)
from tests.browser.test_harness import demo


def test_the_trigger_follows_its_controls_and_every_figure_has_a_text(page, lab):
    open_notebook(page, lab, lab.add(ROOT / "notebooks" / "02_poisoning.ipynb", fast=True))
    run_all(page)

    figure_texts(page, 6)

    image = page.locator("img.widget-image")
    expect(image).to_have_count(1)
    image.scroll_into_view_if_needed()
    status = page.locator(".widget-html [role=status]")
    expect(status).to_contain_text("60 samples are poisoned")
    said = status.inner_text()

    before = source_of(image)
    set_slider(page, "Strength", 0.5)
    wait_for_change(image, before)
    expect(status).not_to_have_text(said)

    before = source_of(image)
    choose(page, "Place", "top left")
    wait_for_change(image, before)

    set_slider(page, "Rate (%)", 20)
    expect(status).to_contain_text("12 of 60 samples are poisoned")
    assert "12 of 60 poisoned" in (image.get_attribute("title") or ""), "the picture's text goes with the picture"

    set_slider(page, "Strength", 0)
    expect(page.locator(".widget-html [role=alert]")).to_contain_text("unchanged")
    screenshot(page, "trigger")


def test_the_lab_takes_presets_and_factors(page, lab, tmp_path):
    cell = (
        "import pcvr\nfrom pcvr.widgets.attack_lab import lab_explorer\nlab_explorer(pcvr.open_data('scenes', n=6))[0]"
    )
    open_notebook(page, lab, lab.add(demo(tmp_path / "lab.ipynb", [cell])))
    run_all(page)
    everything = page.locator("img.widget-image")
    most = page.locator(".widget-html [role=status]").last
    expect(most).to_contain_text("Changed most")
    before = source_of(everything)
    choose(page, "Preset", "compat")
    wait_for_change(everything, before)
    set_slider(page, "Factor", 0)
    expect(everything).to_have_attribute("title", re.compile("wanet: image unchanged"))
    screenshot(page, "lab")
