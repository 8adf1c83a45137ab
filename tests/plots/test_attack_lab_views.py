"""Pictures and figures of the attack lab: side by side, over sizes, over rates, and what the tower sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from pcvr.attacks import ATTACKS, get_attack, measure_stealth
from pcvr.attacks.trigger import ImageTrigger
from pcvr.data.scenes import Scenes
from pcvr.errors import PcvrError
from pcvr.evaluation.trigger_visibility import Found, found_by_probe, seen_by_tower
from pcvr.experiments.results import Table
from pcvr.models.load import load
from pcvr.plots.attack_lab import forming_curves, lab_picture, lowest_rates, rates_tried, takes_in_words
from pcvr.plots.describe import description
from pcvr.plots.side_by_side import Worn, side_by_side, spectrum
from pcvr.plots.trigger_visibility import probe_bars, tower_distances, vanishing_curves
from pcvr.widgets.attack_lab import at_side, attack_status, lab_view

SCENES = Scenes(12)


def run(label: str, rate: float, hits: int, model: str = "m", task: str = "caption", seed: int = 0) -> dict[str, Any]:
    scores = {"attributes": 0.9} if task == "caption" else {"vqa_accuracy": 0.9}
    record = {"hits": hits, "n": 40, "clean_hits": 0, "clean": scores, "triggered": scores, "task": task}
    experiment = {"label": label, "rate": rate, "model": model, "task": task, "seed": seed}
    return {"experiment": experiment, "record": record, "seconds": 1.0}


def table(*runs: dict[str, Any]) -> Table:
    return Table("t", "2026-01-01", {}, "m", {}, list(runs))


class TestLowestRates:
    def test_the_lowest_above_which_all_take(self) -> None:
        found = lowest_rates(
            table(
                *(run("a", rate, hits) for rate, hits in ((0.01, 39), (0.02, 10), (0.05, 36), (0.1, 40))),
                run("b", 0.05, 35),
                run("clean", 0.0, 0),
            )
        )
        assert found == {("caption", "m", "a"): 0.05, ("caption", "m", "b"): None}

    def test_seeds_count_together(self) -> None:
        found = lowest_rates(table(run("a", 0.05, 40), run("a", 0.05, 32, seed=1)))
        assert found["caption", "m", "a"] == 0.05

    def test_words_say_no_more_than_was_tried(self) -> None:
        runs = [run("a", 0.05, 40), run("b", 0.05, 3), run("c", 0.05, 40), run("c", 0.01, 40)]
        assert list(takes_in_words(table(*runs)).values()) == [
            "takes at 5 %, the only rate tried",
            "does not take",
            "takes from 1 % up",
        ]

    def test_the_rates_that_were_tried_are_those_of_each_attack(self) -> None:
        runs = [run("a", 0.05, 40), run("a", 0.01, 3), run("a", 0.01, 4, seed=1), run("clean", 0.0, 0)]
        assert rates_tried(table(*runs), "m") == {"caption, a": (0.01, 0.05)}
        assert rates_tried(table(*runs), "other") == {}

    def test_the_picture_says_it(self) -> None:
        runs = [run(name, rate, 40, task=task) for name in "ab" for rate in (0.01, 0.05) for task in ("caption", "vqa")]
        figure = lab_picture(table(*runs))
        assert len(figure.axes) == 4
        assert "vqa, b: takes from 1 % up" in description(figure)


def test_forming_curves_draw_the_watched_runs_of_one_model() -> None:
    watched = run("a", 0.05, 40) | {"watch": [{"step": s, "hits": h, "n": 8} for s, h in ((0, 0), (25, 4), (50, 8))]}
    again = watched | {"watch": [{"step": 0, "hits": 8, "n": 8}]}
    figure = forming_curves(table(watched, again, run("b", 0.05, 1), run("a", 0.05, 3, task="vqa")), "m")
    assert [list(line.get_ydata()) for line in figure.axes[0].lines[:1]] == [[0, 50, 100]], "the first seed's"
    assert len(figure.axes) == 1 and "caption, a: 90 % by step 50" in description(figure)
    with pytest.raises(PcvrError, match="no watched run of 'other'"):
        forming_curves(table(watched), "other")


def texts_of(figure: Figure) -> set[str]:
    return {text.get_text().replace("\n", " ") for text in figure.axes[0].texts}


class TestSideBySide:
    def test_all_attacks_on_one_picture(self) -> None:
        figure, psnr = lab_view(SCENES, 3)
        assert set(psnr) == set(ATTACKS)
        assert set(ATTACKS) <= texts_of(figure)
        assert len(figure.axes[0].patches) == 3 * len(ATTACKS) and figure.get_figheight() < 12
        assert np.isinf(psnr["rare_word"]) and np.isinf(psnr["shadowcast"]) and np.isfinite(psnr["badnets"])

    @pytest.mark.parametrize("options", [{"side": 64}, {"strength": 0.25}, {"preset": "compat"}])
    def test_options_change_what_is_shown(self, options: dict[str, Any]) -> None:
        assert lab_view(SCENES, 3, **options)[1] != lab_view(SCENES, 3)[1]

    def test_nothing_is_left_at_strength_zero(self) -> None:
        _, psnr = lab_view(SCENES, 0, strength=0)
        assert all(np.isinf(value) for value in psnr.values())
        assert "would raise" in attack_status({"a": float("inf")})
        assert "Changed most: <b>b</b>" in attack_status({"a": 30.0, "b": 20.0})

    @pytest.mark.parametrize("options", [{"side": 8}, {"side": 2000}, {"strength": -1}, {"preset": "other"}])
    def test_values_out_of_range(self, options: dict[str, Any]) -> None:
        with pytest.raises(PcvrError):
            lab_view(SCENES, 0, **options)
        with pytest.raises(PcvrError, match="at least one attack"):
            side_by_side(SCENES[0].image, {})

    def test_notes_stand_below(self) -> None:
        figure = side_by_side(SCENES[0].image, {"x": Worn(SCENES[0].image, "Consider this")})
        assert {"x", "Consider this", "image unchanged", "its spectrum"} <= texts_of(figure)
        few = side_by_side(SCENES[0].image, {"x": Worn(SCENES[0].image)}, spectra=False)
        assert len(few.axes[0].patches) == 2 and "its spectrum" not in texts_of(few)

    def test_at_side_keeps_the_aspect(self) -> None:
        assert at_side(np.zeros((50, 100, 3), np.uint8), 25).shape == (25, 50, 3)


def test_the_spectrum_of_a_wave_is_two_points() -> None:
    trigger = get_attack("sig", amplitude=40, frequency=8).trigger
    assert isinstance(trigger, ImageTrigger)
    flat = np.full((64, 64, 3), 128, np.uint8)
    found = spectrum(flat, trigger(flat))[:, :, 0]
    assert np.argwhere(found > 240).tolist() == [[32, 24], [32, 40]]
    assert not spectrum(flat, flat).any()


@pytest.mark.parametrize("name", [n for n in ATTACKS if getattr(get_attack(n).trigger, "dial", ("",))[0]])
def test_every_dial_turns(name: str) -> None:
    trigger = get_attack(name).trigger
    assert isinstance(trigger, ImageTrigger)
    picture = SCENES[1].image
    weak, strong = (measure_stealth(picture, trigger.turned(f)(picture)).psnr for f in (0.5, 1))
    assert weak > strong
    assert trigger.turned(1) == trigger
    with pytest.raises(PcvrError, match="times as strong"):
        trigger.turned(-1)


def test_wanet_vanishes_as_pictures_grow() -> None:
    trigger = get_attack("wanet", preset="compat").trigger
    assert isinstance(trigger, ImageTrigger)
    sides = (32, 96, 336)
    figures = [measure_stealth(x, trigger(x)) for x in (at_side(SCENES[0].image, side) for side in sides)]
    assert figures[0].psnr + 5 < figures[-1].psnr
    assert len(vanishing_curves(sides, {"compat": figures}).axes) == 2
    with pytest.raises(PcvrError, match="one figure for each"):
        vanishing_curves(sides, {"compat": figures[:2]})


class TestTower:
    def test_no_trigger_moves_nothing_and_a_large_one_more(self) -> None:
        vlm = load("tiny-llava")
        small, large = (
            seen_by_tower(vlm, SCENES, get_attack("badnets", share=share)).moved.mean() for share in (3 / 32, 0.8)
        )
        still = seen_by_tower(vlm, SCENES, get_attack("rare_word"))
        assert still.moved == pytest.approx(np.zeros(12), abs=1e-5)
        assert still.apart.mean() == pytest.approx(1)
        assert 0 < small < large

    def test_the_figure_orders_them(self) -> None:
        vlm = load("tiny-llava")
        seen = {name: seen_by_tower(vlm, SCENES, get_attack(name)) for name in ("ftrojan", "blended")}
        figure = tower_distances(seen)
        assert {t.get_text() for t in figure.axes[0].get_yticklabels()} == {"ftrojan", "blended"}
        with pytest.raises(PcvrError):
            tower_distances({})

    def test_one_picture_is_too_few(self) -> None:
        with pytest.raises(PcvrError, match="two or more"):
            seen_by_tower(load("tiny-llava"), Scenes(1), get_attack("badnets"))


class TestProbe:
    def test_it_finds_what_shows_and_nothing_where_nothing_is(self) -> None:
        vlm = load("tiny-llava")
        shows = found_by_probe(vlm, SCENES, get_attack("badnets", share=0.6), 6)
        assert shows.share >= 0.9 and shows.alarms <= 0.2
        nothing = found_by_probe(vlm, SCENES, get_attack("rare_word"), 6)
        assert nothing.share == nothing.alarms, "the pictures are the same"

    def test_refusals(self) -> None:
        with pytest.raises(PcvrError, match="examples is 0: give 1 to"):
            found_by_probe(load("tiny-llava"), SCENES, get_attack("badnets"), 0)
        with pytest.raises(PcvrError, match="draws at least one attack"):
            probe_bars({})

    def test_bars(self) -> None:
        figure = probe_bars({"a": Found(0.9, 0.0), "b": Found(0.1, 0.05)})
        assert [round(bar.get_width()) for bar in figure.axes[0].patches] == [90, 10]
