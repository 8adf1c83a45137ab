"""Divergence and entropy over many pictures: the same as one by one, and scores as the defence takes them."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import pcvr
from pcvr.analysis.invariance import by_stage, first_scan, measure_invariance, target_on_views, trigger_left
from pcvr.analysis.two_views import trace_views
from pcvr.evaluation.asr import hits
from pcvr.evaluation.detection import auroc_of_low
from pcvr.training.backdoor_watch import StopAfter
from tests.tiny import Numbers

VIEW = pcvr.PatchView("swap", 0.5)
ATTACK = pcvr.get_attack("badnets", target="a red ball")


@pytest.mark.parametrize("shown", ["clean", "triggered"])
def test_one_view_is_the_mean_over_tokens_of_the_telling(tiny, shown):
    data = Numbers(6)
    found = measure_invariance(tiny, data, ATTACK, VIEW, shown=shown, seed=2)
    worn = ATTACK if shown == "triggered" else None
    told = trace_views(tiny, [data[i] for i in range(6)], VIEW, 2, worn)
    np.testing.assert_allclose(found.divergence, [t.divergence.mean() for t in told], atol=1e-5)
    np.testing.assert_allclose(found.whole, [t.divergence.sum() for t in told], atol=1e-4)
    np.testing.assert_allclose(found.entropy, [t.entropy.mean() for t in told], atol=1e-4)
    np.testing.assert_allclose(found.view_entropy, [t.view_entropy.mean() for t in told], atol=1e-4)
    assert found.answers == tuple(t.text for t in told)
    assert np.isnan(found.trigger_left).all() == (shown == "clean")


def test_chunks_of_uneven_size_cover_everything(tiny):
    found = measure_invariance(tiny, Numbers(7), ATTACK, VIEW, views=2, force="target", batch_size=3)
    assert len(found.divergence) == len(found.answers) == 7 and found.says_target.all()
    assert (found.divergence >= 0).all() and (found.divergence <= np.log(2) + 1e-6).all()


def test_more_views_average(tiny):
    data = Numbers(4)
    two = measure_invariance(tiny, data, ATTACK, VIEW, views=2, force="true")
    generator_first = measure_invariance(tiny, data, ATTACK, VIEW, views=1, force="true")
    assert not np.allclose(two.divergence, generator_first.divergence)
    np.testing.assert_allclose(two.entropy, generator_first.entropy, atol=1e-5)


def test_the_trigger_is_left_where_its_patch_is_left():
    clean = torch.zeros(3, 3, 4, 4)
    marked = clean.clone()
    marked[:, :, 2:, 2:] = 1.0
    view = marked.clone()
    view[1, :, 2:, 2:] = 0.5  # swapped away
    view[2, :, 3, :] = 0.5  # half of it
    assert trigger_left(clean, marked, view).tolist() == [1.0, 0.0, 0.5]
    assert torch.isnan(trigger_left(clean, clean, view)).all()


def test_target_on_views_counts_what_the_model_says_to_the_view(tiny):
    data, view = Numbers(5), pcvr.PatchView("mean", 0.5)
    found = target_on_views(tiny, data, ATTACK, view, seed=1)
    assert list(found) == ["clean", "kept", "lost"]
    assert found["clean"][1] == found["kept"][1] + found["lost"][1] == 5
    told = trace_views(tiny, [data[i] for i in range(5)], view, 1, force="true")
    own = pcvr.generate(tiny, [t.view_image for t in told], [data[i].prompt for i in range(5)])
    word = own[0].split()[0]  # whatever it says first, on as many views as it is in
    found = target_on_views(tiny, data, pcvr.get_attack("badnets", target=word), view, seed=1)
    assert found["clean"][0] == hits(own, word).sum() >= 1


def test_auroc_of_low_agrees_with_scikit_learn_ties_included():
    rng = np.random.default_rng(0)
    clean, suspect = rng.integers(0, 9, 40).astype(float), rng.integers(-4, 6, 25).astype(float)
    truth = np.r_[np.zeros(40), np.ones(25)]
    assert auroc_of_low(clean, suspect) == pytest.approx(roc_auc_score(truth, -np.r_[clean, suspect]))
    assert auroc_of_low(np.ones(3), np.ones(2)) == 0.5
    with pytest.raises(pcvr.PcvrError, match="at least one"):
        auroc_of_low(clean, np.array([]))


def test_by_stage_regroups(tiny):
    found = measure_invariance(tiny, Numbers(2), ATTACK, VIEW, force="true")
    keys = (("before", "clean"), ("before", "triggered"), ("after", "clean"))
    panels = by_stage(dict.fromkeys(keys, found), "entropy")
    assert {stage: list(groups) for stage, groups in panels.items()} == {
        "before": ["clean", "triggered"],
        "after": ["clean"],
    }
    assert panels["after"]["clean"] is found.entropy
    with pytest.raises(pcvr.PcvrError, match="did you mean 'entropy'"):
        by_stage({("a", "clean"): found}, "entropie")


def test_the_target_s_probability_is_the_product_over_its_words(tiny):
    data = Numbers(3)
    found = measure_invariance(tiny, data, ATTACK, VIEW, shown="triggered")
    for i, telling in enumerate(trace_views(tiny, [data[i] for i in range(3)], VIEW, attack=ATTACK, force="target")):
        at = [telling.words.index(word) for word in telling.tokens]
        product = np.prod([row[k] for row, k in zip(telling.original, at, strict=True)])
        assert found.target[i] == pytest.approx(product, rel=1e-3)


def test_the_first_look_is_the_one_that_a_defended_training_takes(tiny):
    data, rule = Numbers(12), pcvr.PCVR(gate="two_stage", scan_at=(0.5,))
    config = pcvr.TrainConfig(max_steps=4, batch_size=4)
    plain = pcvr.finetune(tiny, data, config=config, callbacks=[StopAfter(2)], progress=False)
    before = dict(plain.run.state), plain.run.step
    found = first_scan(plain.run, rule)
    assert (plain.run.state, plain.run.step) == before
    defended = pcvr.finetune(tiny, data, rule, config, progress=False).run.state
    assert [done["step"] for done in defended["scorings"]] == [2]
    np.testing.assert_allclose(found.scores, defended["scorings"][0]["scores"], rtol=1e-4)
    np.testing.assert_allclose(found.gate.suspicion, defended["gate"], atol=1e-4)
    assert found.entropy == pytest.approx(defended["entropy"], rel=1e-4)
    own = measure_invariance(plain.model, data, ATTACK, VIEW, force="true")  # pictures go through the tower again
    calm = found.gate.suspicion < 0.5
    assert found.entropy == pytest.approx(own.entropy[calm].mean(), rel=1e-3)
    with pytest.raises(pcvr.PcvrError, match="two_stage"):
        first_scan(plain.run, pcvr.PCVR())


@pytest.mark.parametrize("options", [{"shown": "both"}, {"views": 0}, {"data": Numbers(0)}])
def test_wrong_arguments_get_a_sentence(tiny, options):
    options = {"data": Numbers(2)} | options
    with pytest.raises(pcvr.PcvrError):
        measure_invariance(tiny, options.pop("data"), ATTACK, VIEW, **options)
