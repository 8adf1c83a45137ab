# %% [markdown]
# # Hyperparameter explorer: the effect of each option of the defence
#
# You vary four hyperparameters of PCVR over a grid of trainings that we ran beforehand. You see how each
# hyperparameter affects the backdoor and the answers. You also train points of your own for comparison (a *point* is
# one training with one setting).
#
# **After this notebook you can**
# - say which of the four hyperparameters decides whether the backdoor succeeds, and when the others matter;
# - read a trade-off: say what a frontier is, and why a point that is not on it is never worth choosing;
# - choose a setting within a utility budget, and say what is wrong with choosing it this way;
# - run a sweep (trainings with many settings) that can be interrupted, and run the same call on a cluster.
#
# <!-- time --> Running the notebook trains nothing. A point that you train with the button takes about a minute on two
# free CPU cores. You need no GPU.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa", questions with one-word answers
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"
rate = 0.05  # fraction of the training samples to poison, for the points that you train
seed = 0  # of the choice of poisoned samples, the training and the views
device = "auto"  # a GPU if there is one, else the CPU; or "cpu", "cuda"
fast = False  # True: points of 6 steps on 64 samples, and a sweep of two of them, for tests
sweep_here = False  # True: also run the sweep of section 6 (two minutes a setting, two at a time)

# %%
import pcvr
from pcvr.experiments import Experiment
from pcvr.experiments.grid import read_grid
from pcvr.experiments.local_run import LocalTrainer
from pcvr.teaching import check
from pcvr.teaching.machine import device_note
from pcvr.teaching.shipped import notebook_data

grid = read_grid()
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 128, task=task)
recipe = Experiment(
    "PCVR", "pcvr", {"gate": "two_stage"}, attack=attack, rate=rate, seed=seed, model=model, data=data, task=task,
    max_steps=6 if fast else 250, watch=3 if fast else 50,
)  # fmt: skip
chosen = pcvr.get_attack(attack, task=task).fitted_to(model)
bench = LocalTrainer(recipe, pcvr.load(model, device=device), train, test, chosen)  # to train points here
case = bench.case if bench.case in grid.cases else grid.cases[0]
mine = grid.of(case)
print(f"{len(mine.points)} trainings, one for each defence setting: {case}")
print(grid.made)
if case != bench.case:
    print(f"Your parameters are another case, and none of its settings is trained yet: {bench.case}")
print(device_note(bench.vlm, train, pcvr.TrainConfig(max_steps=recipe.max_steps, seed=seed)))

# %% [markdown]
# ## 1. Four hyperparameters
#
# | hyperparameter | what it sets | a small value or 0 means |
# | --- | --- | --- |
# | fraction of patches | how much of the image a view replaces | the view hardly differs from the image |
# | first scan | after which fraction of the training all samples are scored | before the model has learned anything |
# | pull-apart weight | how hard the model is pushed away from flagged answers | flagged samples are only left out |
# | entropy weight | how strongly the model is kept as sure as at the first scan | no ceiling on the entropy |
#
# The gate is `"two_stage"`, which scans all samples. (PCVR's default gate decides as the data go by, so it has no first
# scan to vary.) Every other option stays at its default (`pcvr.PCVR()` prints them). *The paper's: views are made from
# patches, outputs are pulled apart, and there is an entropy constraint. Ours: the values of the hyperparameters, the
# gate, and the moment of its scan.*
#
# The shipped grid was trained on BadNets at 5 %, with captions, on tiny-llava: 400 steps, 2000 scenes, tested on 256,
# **one seed**. It contains the defaults and settings that differ from them in at most two hyperparameters.
# `benchmarks/grid.py` can train all 54 combinations. Each training was also measured at intermediate steps. If you
# choose another model, task or data, the shipped grid stays the same. The button in section 4 then trains points of
# **your** case, which you select under *Attack*.
#
# **Predict before you look.** Write your answers down:
#
# 1. Which hyperparameter affects the attack success rate most?
# 2. What happens to the utility if the entropy weight is 0?
# 3. The first scan comes half-way, and the pull-apart weight is 0. Does the backdoor go away?
# 4. Can one setting have both a lower attack success rate and better answers, or does less of one always mean less of
#    the other?

# %% [markdown]
# ## 2. The trade-off

# %%
from pcvr.plots.explorer import trade_off

title = f"{case}: one dot for each defence setting"
trade_off(mine.points, mine.references, chosen=mine.points[0], by="scan_at", title=title)

# %% [markdown]
# The attack success rate (vertical, logarithmic above 1 %) against the utility on clean images (horizontal). Good
# settings are **at the bottom right**. Dots with a dark edge are on the **frontier**: every other setting that is
# better in one of the two measures is worse in the other. The ring marks the first setting of the grid, the default
# values. The line through the ring is the 95 % confidence interval.
#
# <details>
# <summary>How to read it</summary>
#
# - The orange cross is the same training without a defence. The blue plus is the training on clean data. A defence
#   without cost lies straight below the cross.
# - With 256 images, a utility of 90 % is known to within 2 percentage points in either direction (one standard
#   error), and each dot is one training run. Two settings that are closer than that do not differ measurably. An
#   attack success rate of 0 means *below 1.2 %*.
# - If the frontier has only one or two points, there is no real trade-off: one setting is simply good.
#
# </details>

# %%
from pcvr.experiments.grid import NAMES
from pcvr.experiments.in_words import spread_in_words
from pcvr.plots.explorer import knob_effects

failing = [dict(point.setting) for point in mine.points if point.asr > 0.1]
low, late = (sum(p["view.fraction"] <= 0.3 for p in failing), sum(p["scan_at"] >= 0.5 for p in failing))
neither = sum(p["view.fraction"] > 0.3 and p["scan_at"] < 0.5 for p in failing)
print(f"{len(failing)} of {len(mine.points)} settings of the defence leave more than 10 % attack success:")
print(f"    {low} have a fraction of patches of 0.3, {late} a first scan half-way, {neither} neither")
for knob, _ in mine.points[0].setting:
    print(spread_in_words(mine.points, knob))
early = [p for p in mine.points if dict(p.setting)["scan_at"] == dict(mine.points[0].setting)["scan_at"]]
print(f"with the default first scan alone: {spread_in_words(early, 'view.fraction')}")
knob_effects(mine.points, f"{case}: each value of a hyperparameter, for each defence setting that has it")

# %% [markdown]
# For each value of each hyperparameter: all trainings with this value (dots) and their median (black), over all
# values of the other hyperparameters. Compare with your predictions 1 and 2. Note that the shipped grid is not
# complete: values other than the defaults were combined with fewer values of the other hyperparameters. So look at
# the dots before you trust a median.
#
# <details>
# <summary>What to look for</summary>
#
# - **The fraction of patches** decides *how well the gate sees*. With the smallest one it misses half of the poison at
#   an early scan. Then everything else matters too: the last line above compares the fractions at the early scan.
# - **The first scan** decides *what the gate can see*. At an early scan, the model has not learned the backdoor, and
#   poisoned answers are invariant because they are always the same. The model never learns the samples that the gate
#   leaves out then. At a late scan, the backdoor is complete.
# - **The pull-apart weight** matters if the gate has missed poison, or came late: then the model must unlearn
#   something. The median over all settings hides it. The next cell shows it at a fraction of 0.3.
# - **The entropy weight**: the medians hide it too. It matters where the gate has missed poison: the next cell prints
#   the largest effect.
# - If the dots above one value are spread widely, *another* hyperparameter decides there. A median over a grid does
#   not describe a single setting.
#
# </details>

# %%
from pcvr.experiments.grid import frontier as unbeaten
from pcvr.experiments.grid import knob_effects as effects_of

small = [point for point in mine.points if dict(point.setting)["view.fraction"] == 0.3]
for point in sorted(small, key=lambda each: each.setting):
    words = "  ".join(f"{NAMES.get(name, name)} {value:<6g}" for name, value in point.setting)
    print(f"{words} ASR {100 * point.asr:5.1f} %")
print("greatest difference in attack success between two settings that differ in one hyperparameter alone:")
for name, effect in effects_of(mine.points).items():
    print(f"    {NAMES.get(name, name):<20} {effect:5.1f} percentage points")

# %% [markdown]
# All settings with a fraction of 0.3, and a fair comparison of the four hyperparameters: each effect is taken between
# two settings that differ in nothing else. Compare it with the medians of the figure.
#
# ## Exercise 07a: compare like with like
# <!-- card difficulty=3 importance=4 minutes=8 -->
#
# Write this comparison. `settings` is `[N, K]`, a row for each training, and `asr` is `[N]`. Return `[K]`: for each
# column, the greatest difference in `asr` between two rows that differ in this column and in no other; 0 if there are
# no such rows.

# %%
import numpy as np


# %% tags=["exercise"]
def knob_effects_of(settings: np.ndarray, asr: np.ndarray) -> np.ndarray:
    """Settings [N, K] and attack success [N] -> the greatest effect of each hyperparameter alone, [K]."""
    # --- solution
    differ = settings[:, None] != settings[None]  # [N, N, K]
    gaps = np.abs(asr[:, None] - asr[None])
    alone = differ & (differ.sum(-1, keepdims=True) == 1)
    return np.where(alone, gaps[..., None], 0).max((0, 1))
    # --- stub
    # | differ = settings[:, None] != settings[None]  # [N, N, K]: where two rows differ
    # | gaps = ...  # the difference in asr of two rows, [N, N]
    # | alone = ...  # where two rows differ in this column and in no other, [N, N, K]
    # | return ...
    # --- end


# %%
check.knob_effects(knob_effects_of)

# %% [markdown]
# ## 3. One point in detail

# %%
from pcvr.plots.explorer import point_curves

point_curves({"default": mine.points[0], "undefended": mine.references[0]})

# %% [markdown]
# Two trainings in detail, with the defaults and without a defence. The panels show the loss, the figures that the
# defence reports, the attack success rate and the utility. The last two were measured during the training, on 64
# images of each kind. The dotted line marks the scan of the gate.

# %%
from pcvr.plots.explorer import point_distributions

point_distributions({"default": mine.points[0], "undefended": mine.references[0]})

# %% [markdown]
# The same two trainings on 48 test images, clean and triggered. Left: the probability of the attacker's whole target,
# word for word. Right: how far the distributions of the answer change when 60 % of the patches are replaced. (All
# points use the same view, so that they can be compared.)
#
# <details>
# <summary>What to look for</summary>
#
# An attack success rate of 0 can have two reasons. The target may be as unlikely on triggered images as on clean
# ones: then the backdoor was never learned. Or the target may be only a little less likely than the caption that the
# model gave: then the backdoor is still there, but hidden.
#
# </details>

# %% [markdown]
# ## 4. The explorer
#
# Vary the hyperparameters. If the grid does not contain your setting, the explorer says so. **Train here** trains the
# chosen setting now, in the background, while you continue to use the notebook. *Cancel* stops the training at the
# next step. The new point appears as a green star among the dots. It uses fewer steps and fewer test images than the
# grid, and the explorer says so. With fewer steps, the backdoor also has less time to form.

# %%
from pcvr.widgets.explorer import grid_explorer
from pcvr.widgets.explorer_source import GridSource

source = GridSource(grid, bench)
box, controls = grid_explorer(source)
box

# %% [markdown]
# The explorer shows the chosen setting in words, its place among all settings, its training, and its distributions.
# `source.fresh` contains the points that you trained.
#
# **Try this**
#
# - Prediction 3: set the first scan to 0.5 and the pull-apart weight to 0, then 4, then 16. When does the backdoor go
#   away, and what does that cost? Watch the curve of the attack success rate after the dotted line.
# - Set the fraction of patches to 0.3 with an early scan: how many poisoned samples does the gate miss? And with a
#   fraction of 0.9?
# - Train the default here. Is the star where the dot is? How much of the difference is due to fewer steps, and how
#   much to 128 test images instead of 256?

# %% [markdown]
# ## Exercise 07b: the frontier
# <!-- card difficulty=2 importance=4 minutes=8 -->
#
# A setting **beats** another one if it is better in one of the two measures and at least as good in the other. Better
# means a lower attack success rate, or a higher utility. Only settings that no other setting beats are worth
# considering.
#
# Write `frontier`. It returns the indices, ascending, of the settings that no other setting beats. Two settings that
# are equal in both figures do not beat each other.


# %% tags=["exercise"]
def frontier(asr: np.ndarray, utility: np.ndarray) -> list[int]:
    """ASR [N] (lower is better) and utility [N] (higher is better) -> indices of the settings that none beats."""
    # --- solution
    left = []
    for i in range(len(asr)):
        no_worse = (asr <= asr[i]) & (utility >= utility[i])
        better = (asr < asr[i]) | (utility > utility[i])
        if not (no_worse & better).any():
            left.append(i)
    return left
    # --- stub
    # | left = []
    # | for i in range(len(asr)):
    # |     no_worse = ...  # settings that are no worse than i in both figures, [N]
    # |     better = ...  # settings that are strictly better in at least one, [N]
    # |     # Keep i if no setting is both:
    # |     ...
    # | return ...
    # --- end


# %%
check.frontier(frontier)

# %% [markdown]
# The next cell applies the package's own function to the grid.

# %%
from pcvr.widgets.explorer_source import in_words, outcome

asr = np.array([p.asr for p in mine.points])
utility = np.array([p.utility for p in mine.points])
for i in unbeaten(asr, utility):
    print(f"a setting that none beats: {in_words(mine.points[i].setting)}")
    print(f"    {outcome(mine.points[i])}")

# %% [markdown]
# ## Exercise 07c: choose within a budget
# <!-- card difficulty=2 importance=5 minutes=8 -->
#
# Your users accept no utility below `least`. Among the settings that reach it, take the one with the lowest attack
# success rate. If several settings have this lowest rate, take the one with the highest utility. If several settings
# are equal in both, take the first. If no setting reaches `least`, return -1.
#
# Write `choose_setting`. It returns an index into *all* settings.


# %% tags=["exercise"]
def choose_setting(asr: np.ndarray, utility: np.ndarray, least: float) -> int:
    """ASR [N], utility [N] and the least utility, in the same unit -> index of the choice, or -1."""
    # --- solution
    fits = np.flatnonzero(utility >= least)
    if len(fits) == 0:
        return -1
    order = np.lexsort((fits, -utility[fits], asr[fits]))  # by ASR, then utility, then index
    return int(fits[order[0]])
    # --- stub
    # | fits = ...  # the indices of the settings that reach the least utility
    # | # If no setting fits:
    # | ...
    # | # Among these, the lowest ASR, then the highest utility:
    # | return ...
    # --- end


# %%
check.choose_setting(choose_setting)

# %% [markdown]
# ## 5. What is wrong with this choice
#
# **Predict before you read on.** You have just chosen a setting by its attack success rate on 256 test images. Name
# two reasons why this rate is too optimistic. Name one reason why a defender could not have known this rate at all.
#
# <details>
# <summary>Answer</summary>
#
# - **Selection bias.** The best of many noisy figures is the best partly by chance. Measure its attack success rate
#   again, on other images and with other seeds, before you report it.
# - **The test set was used twice**: once to choose and once to report. The defaults of this package were found on
#   BadNets and SIG in the same way. Notebook 09 tests them on attackers who know the defence.
# - **A defender cannot measure the attack success rate**, because the defender does not know the trigger. A defender
#   does have clean images (and so the utility) and the scores of the gate. A defender can also poison the data with a
#   trigger of their own and choose a setting by that attack. The real question is whether this choice also works for
#   the attacker's trigger.
#
# </details>

# %%
least = mine.references[0].utility - 2  # two points below the undefended training
kept = [p for p in mine.points if p.utility >= least]
by_luck = min(kept or mine.points, key=lambda p: (p.asr, -p.utility))
low, high = (100 * end for end in by_luck.interval)
print(f"least utility {least:.1f}: {len(kept)} of {len(mine.points)} settings reach it, one training each")
print(f"lowest attack success rate among them: {in_words(by_luck.setting)}")
print(f"its 95 % interval, not corrected for the selection: {low:.1f} to {high:.1f} %")
alike = [p for p in kept if 100 * p.asr <= high]
print(f"{len(alike)} of {len(kept)} settings lie within it: this grid cannot show that they are worse than the best")

# %% [markdown]
# ## 6. A sweep of your own
#
# Three calls made the grid, and three calls make yours: define the experiments, run them, look at the results. Every
# run is saved as soon as it is finished, so an interrupted sweep resumes where it stopped.
#
# `jobs` is the number of trainings that run at the same time, by [joblib](https://joblib.readthedocs.io). On one
# machine, more jobs than cores do not help. On a cluster, the same call uses many machines: call it inside
# `joblib.parallel_config(backend="dask")`, or `"ray"` after `ray.util.joblib.register_ray()`. All machines must then
# see the same folder.

# %%
from dataclasses import replace
from tempfile import TemporaryDirectory

from pcvr.experiments.grid import grid_of, lay_out, references, run_grid

knobs = {"apart_weight": (0.0, 4.0)} if fast else {"cap": (0.2, 0.4, 0.6), "apart_weight": (1.0, 4.0)}
size = {"tests": 256, "max_steps": 400, "watch": 50}
if fast:
    size = {"samples": 32, "tests": 8, "max_steps": 3, "watch": 3}
plan = [*references(replace(recipe, **size)), *lay_out(replace(recipe, **size), knobs)]
print(f"{len(plan)} trainings: {[dict(e.options) or e.label for e in plan]}")

# %%
own = None
if sweep_here or (fast and data == "scenes"):
    with TemporaryDirectory() as scratch:
        folder = scratch if fast else "runs/my-sweep"  # your own folder is kept, and the next call resumes from it
        own = grid_of(run_grid(plan, folder, jobs=1 if fast else 2, progress=not fast), knobs)
figure = "Set sweep_here = True at the top to run it."
if own is not None:
    title = "My sweep: one dot for each defence setting"
    figure = trade_off(own.points, own.references, by="apart_weight", title=title)
figure

# %% [markdown]
# Your sweep as a trade-off, once it has run. `GridSource(own)` loads it into the explorer.
#
# ## Recap
#
# - A defence with its options is a family of trainings. One number from one setting says little about it.
# - Look at both axes, choose a setting on the frontier, and stay within a budget that you set beforehand.
# - Which hyperparameter matters depends on what the gate finds. If it finds the poison before the model has learned the
#   backdoor, it is enough to leave the poison out. If it misses much of it (a small fraction of patches), or finds it
#   late, the model learns the backdoor and has to unlearn it, and for that it needs a push.
# - The best rate of many is too optimistic, so measure it again. A real defender has to choose without an attack
#   success rate.
#
# **What is the paper's and what is ours.** Patch views, pulling apart and an entropy constraint are the paper's
# ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)). It reports a study of its parameters that we could not read.
# The choice of hyperparameters, their values, the grid and every number here are ours, with one tiny model and one
# seed.
#
# **Try it.** Train the default and your favourite setting with three seeds each: `replace(recipe, seed=1)`. Try other
# hyperparameters: switch `fade` off, use another `gate`, or use other operators of the view (as labels of your own,
# with `options=`). Train the same grid under SIG: is the same setting the best?
#
# <!-- next --> compares other defences with this one.
