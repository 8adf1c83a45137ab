"""Notebook 01 in a real JupyterLab: it runs through, and a question of one's own is answered."""

import io
import re

import numpy as np
from PIL import Image as PilImage
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


def test_attention_follows_its_controls(page, lab):
    open_notebook(page, lab, lab.add(ROOT / "notebooks" / "01b_attention.ipynb", fast=True))
    run_all(page)
    attention = page.locator("img.widget-image")
    expect(attention).to_have_count(1)
    attention.scroll_into_view_if_needed()
    before = source_of(attention)
    set_slider(page, "Word", 2)
    wait_for_change(attention, before)
    choose(page, "How", "rollout")
    says(attention, "rollout")


def test_a_drawing_is_composed_stamped_and_asked_about(page, lab):
    open_notebook(page, lab, lab.add(ROOT / "notebooks" / "01_meet_the_model.ipynb", fast=True))
    run_all(page)

    images = page.locator("img.widget-image")
    expect(images).to_have_count(2)
    preview, reply = images.nth(0), images.nth(1)

    preview.scroll_into_view_if_needed()
    before = source_of(preview)
    choose(page, "Object 1", "boat")
    says(preview, "boat")
    wait_for_change(preview, before)
    set_slider(page, "Across 2 (%)", 20)
    says(preview, "house top left")
    status = page.locator(".widget-html [role=status]").last
    expect(status).to_contain_text("press Ask")
    screenshot(page, "ask_objects")

    question, button = page.get_by_placeholder("write a question"), page.get_by_role("button", name="Ask", exact=True)
    question.fill("is there a boat?")
    button.click()
    says(reply, "is there a boat?")
    expect(status).to_contain_text("Truth: yes")

    page.get_by_role("tab", name="Stamps").click()
    page.get_by_role("button", name="H8", exact=True).click()
    says(preview, "squares are stamped")
    button.scroll_into_view_if_needed()
    screenshot(page, "ask")

    page.get_by_role("tab", name="File", exact=True).click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take an image file").click()
    chooser.value.set_files({"name": "noise.png", "mimeType": "image/png", "buffer": noise()})
    says(preview, "an image from outside")
    button.click()
    expect(status).to_contain_text("an image from outside")

    question.fill("")
    button.click()
    expect(page.locator(".widget-html [role=alert]")).to_contain_text("empty")

    figure_texts(page, 11)


def says(image, words):
    """Wait until an image's text holds these words; text and picture travel together."""
    expect(image).to_have_attribute("title", re.compile(re.escape(words)))


def noise():
    out = io.BytesIO()
    PilImage.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(out, format="PNG")
    return out.getvalue()
