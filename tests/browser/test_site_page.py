"""The site: the exported models answer as torch does, in Python and on the first page, which anybody can operate."""

import json
from typing import Any

import numpy as np
import onnxruntime
import pytest

import pcvr
from pcvr.analysis.decoding import decode_steps
from pcvr.data.scenes.compose import Thing, compose
from pcvr.teaching.shipped import shipped_adapters
from tests.browser.driver import PATIENCE, screenshot
from tests.browser.site_driver import NOTEBOOK, build_site, served

TOLERANCE = 1e-4  # of a probability
SECONDS = 2  # an answer may take
DONE = "#live[data-state=done]"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return build_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def address(site):
    with served(site) as url:
        yield url


@pytest.fixture(scope="module")
def answers():
    """(scene, trigger) -> {copy: steps}, of torch: what the browser has to say, too."""
    trigger = pcvr.get_attack("badnets").trigger
    assert trigger is not None
    samples = [pcvr.open_data("scenes", split="test", n=12)[index] for index in (1, 4)]
    models = {copy: pcvr.load("tiny-llava", name) for copy, name in shipped_adapters("tiny-llava", "caption").items()}
    return {
        (scene, how): {copy: decode_steps(model, picture, sample.prompt) for copy, model in models.items()}
        for scene, sample in zip((1, 4), samples, strict=True)
        for how, picture in (("none", sample.image), ("badnets", trigger(sample.image)))
    }


@pytest.fixture
def live(page, address):
    """The first page, its first answers given; whatever it asks of another server fails the test."""
    outside = []
    page.on(
        "request",
        lambda asked: outside.append(asked.url) if not asked.url.startswith((address, "data:", "blob:")) else None,
    )
    page.goto(f"{address}/index.html")
    page.wait_for_selector(DONE, timeout=PATIENCE * 1000)
    yield page
    assert not outside


def chosen(page, scene, trigger):
    """Choose a scene and a trigger, and wait for the answers."""
    before = page.locator("#live-says").text_content()
    page.locator(f"input[name=live-scene][value='{scene}']").check(force=True)
    page.locator(f"input[name=live-trigger][value={trigger}]").check()
    page.wait_for_function("text => document.getElementById('live-says').textContent !== text", arg=before)
    page.wait_for_selector(DONE)
    return {card.get_attribute("data-copy"): card for card in page.locator(".live .model").all()}


def test_the_graphs_give_the_distributions_of_torch(site, answers, tmp_path):
    folder = site / "_static" / "live"
    about = json.loads((folder / "model.json").read_text())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    tower = onnxruntime.InferenceSession(folder / "tower.onnx", options)
    for name in ("language.onnx", about["shared"]):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    image = np.asarray(pcvr.open_data("scenes", split="test", n=2)[1].image, np.float32)
    trigger = pcvr.get_attack("badnets").trigger
    assert trigger is not None
    for how, picture in (("none", image), ("badnets", trigger(image.astype(np.uint8)))):
        pixels = (picture / np.float32(255) - np.float32(about["mean"])) / np.float32(about["std"])
        features = tower.run(None, {"pixels": pixels.astype(np.float32).transpose(2, 0, 1)[None]})[0]
        for copy in about["copies"]:
            (tmp_path / about["own"]).write_bytes((folder / f"{copy}.bin").read_bytes())
            language = onnxruntime.InferenceSession(tmp_path / "language.onnx", options)
            steps = answers[1, how][copy]
            for place, expected in enumerate(steps.probabilities):
                ids = np.array([[*about["prompt_ids"], *steps.ids[:place]]])
                found = language.run(None, {"features": features, "ids": ids})[0][0]
                assert np.abs(found - expected).max() < TOLERANCE, (how, copy, place)


def test_the_page_says_what_torch_says_and_in_time(live, answers):
    quickest: dict[str, float] = {}
    for scene, trigger in answers:
        for copy, card in chosen(live, scene, trigger).items():
            steps = answers[scene, trigger][copy]
            assert card.get_attribute("data-ids") == " ".join(map(str, steps.ids)), (scene, trigger, copy)
            fired = "a photo of the banana" in steps.text
            assert ("says the attacker's words" in card.inner_text()) == fired
            quickest[copy] = min(float(card.get_attribute("data-seconds")), quickest.get(copy, np.inf))
    assert answers[1, "badnets"]["backdoored"].text == "a photo of the banana"
    assert max(quickest.values()) < SECONDS, quickest  # the quickest of four, for beside other work some take longer
    screenshot(live, "site-first-page")
    card = chosen(live, 4, "none")["clean"]
    card.locator("input").nth(3).check(force=True)
    shown = [line.split("\n") for line in card.locator(".bars li").all_inner_texts()]
    top = answers[4, "none"]["clean"].top(3, 5)
    assert [name for name, _ in shown] == [word for word, _ in top]
    for (_, number), (_, chance) in zip(shown, top, strict=True):
        assert number == "< 0.1 %" or abs(float(number.split()[0]) / 100 - chance) < 0.0006


TRIGGERS: dict[str, tuple[str, dict[str, Any]]] = {
    "badnets(x, 96, {size: 9, place: 'bottom_right', strength: 1})": ("badnets", {}),
    "badnets(x, 96, {size: 5, place: 'centre', strength: 0.35})": (
        "badnets",
        {"size": 5, "place": "centre", "strength": 0.35},
    ),
    "badnets(x, 96, {size: 4, place: 'top_left', strength: 0.5})": (
        "badnets",
        {"size": 4, "place": "top_left", "strength": 0.5},
    ),
    "blended(x, {pattern, part: 10, whole: 100})": ("blended", {}),
    "sig(x, 96, {amplitude: 25, frequency: 6})": ("sig", {}),
    "sig(x, 96, {amplitude: 60, frequency: 6})": ("sig", {"amplitude": 60}),
}


def test_triggers_change_the_same_levels_as_in_python(page, address):
    page.goto(f"{address}/search.html")  # any page of the server: the modules need no first page
    image = np.asarray(pcvr.open_data("scenes", split="test", n=6)[5].image)
    found = page.evaluate(
        """async ([levels, scripts]) => {
            const folder = new URL("/_static/live/", location);
            const {badnets, blended, sig} = await import(new URL("triggers.js", folder));
            const {readLevels} = await import(new URL("picture.js", folder));
            const pattern = (await readLevels(new URL("blended.png", folder))).levels;
            const x = Uint8Array.from(levels);
            return scripts.map(script => Array.from(
                new Function("x", "pattern", "badnets", "blended", "sig", `return ${script}`)(
                    x, pattern, badnets, blended, sig)));
        }""",
        [image.ravel().tolist(), list(TRIGGERS)],
    )
    for made, (script, (name, options)) in zip(found, TRIGGERS.items(), strict=True):
        trigger = pcvr.get_attack(name, **options).trigger
        assert trigger is not None
        expected = trigger(image)
        assert np.array_equal(np.reshape(made, image.shape), expected), script


def test_a_drawing_is_the_packages_drawing(page, address):
    page.goto(f"{address}/search.html")
    found = page.evaluate(
        """async () => {
            const folder = new URL("/_static/live/", location);
            const {Painter} = await import(new URL("scene.js", folder));
            const {parts} = await (await fetch(new URL("drawings.json", folder))).json();
            const objects = [{kind: "cat", color: "purple", size: "large", x: 25, y: 60},
                             {kind: "boat", color: "white", size: "small", x: 80, y: 2}];
            const painter = await Painter.load(folder, parts);
            return Array.from(painter.draw({background: "dots", objects, paint: new Map()}));
        }"""
    )
    things = (Thing("cat", "purple", "large", 25, 60), Thing("boat", "white", "small", 80, 2))
    drawn = compose(things, "dots").picture
    assert np.abs(np.reshape(found, drawn.shape) - drawn.astype(int)).max() <= 2


def test_everything_is_reached_and_named_without_a_mouse(live):
    live.locator("input[name=live-scene]:checked").focus()
    before = live.locator("#live-says").text_content()
    live.keyboard.press("ArrowRight")  # the next scene
    live.keyboard.press("Tab")
    live.keyboard.press("ArrowRight")  # the white square
    assert live.locator("input[name=live-trigger]:checked").get_attribute("value") == "badnets"
    live.wait_for_function("text => document.getElementById('live-says').textContent !== text", arg=before)
    live.wait_for_selector(DONE)
    assert "Backdoored model: a photo of the banana" in live.locator("#live-says").text_content()
    tags = [live.evaluate("document.activeElement.type") for _ in range(8) if live.keyboard.press("Tab") is None]
    assert tags == ["select-one", "range", "range", "radio", "radio", "radio", *tags[6:]]  # options, then the answers
    live.locator("input[name=live-scene][value=draw]").check(force=True)
    nameless = """() => [...document.querySelectorAll('#live :is(input, select, button)')].filter(
        each => !(each.labels?.[0]?.textContent || each.textContent || '').trim()).length"""
    assert live.evaluate(nameless) == 0
    assert "white square" in live.locator("#live-canvas").get_attribute("aria-label")


def test_notebooks_are_pages_with_figures_formulas_and_still_widgets(page, address):
    page.goto(f"{address}/notebooks/{NOTEBOOK}.html")
    frame = page.locator(".widget-picture")
    assert "Not live here" in frame.inner_text() and "Strength" in frame.inner_text() and "0.5" in frame.inner_text()
    for image in (frame.locator("img"), page.get_by_alt_text("A figure")):
        image.scroll_into_view_if_needed()
        image.evaluate("each => each.decode()")
    assert "100 %" not in page.locator("article").inner_text()  # no progress bar
    page.wait_for_selector("mjx-container svg")
    assert page.locator(".prev-next-footer a").count() == 2
    dark = page.locator("html").get_attribute("data-theme")
    page.emulate_media(color_scheme="dark")
    page.wait_for_selector("html[data-theme=dark]")
    assert dark == "light"


def test_the_search_finds_words_without_a_network(page, address):
    page.goto(f"{address}/search.html?q=banana")
    page.wait_for_selector("#search-results li a")
    assert page.locator("#search-results li a").count() >= 2
