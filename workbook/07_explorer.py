# %% [markdown]
# # Hyperparameter explorer: what each knob of the defence buys
#
# You turn four knobs of PCVR over a grid of trainings made beforehand, see what each does to the backdoor and to the
# answers, and train points of your own beside it.
#
# **After this notebook you can**
# - say which of the four knobs decides whether the backdoor comes through, and which hardly matter here;
# - read a trade-off: what a frontier is, and why a point off it is never worth choosing;
# - choose a setting within a utility budget, and say what is wrong with choosing it this way;
# - run a sweep of your own that can be interrupted, and take the same call to a cluster.
#
# **Time and hardware:** 35 minutes with both exercises. Running the notebook trains nothing and takes some seconds; a
# point trained with the button takes about a minute on two CPU cores. No GPU needed.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa", questions with one-word answers
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"
rate = 0.05  # share of training samples to poison, for the points that you train
seed = 0  # of the poison draw, the training and the views
fast = False  # True: points of 6 steps on 64 samples, and a sweep of two of them, for tests
sweep_here = False  # True: also run the sweep of section 6 (two minutes a setting, two at a time)

# %%
import pcvr
from pcvr.experiments import Experiment
from pcvr.experiments.grid import read_grid
from pcvr.experiments.local_run import LocalTrainer
from pcvr.teaching import check
from pcvr.teaching.shipped import notebook_data

grid = read_grid()
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 128, task=task)
recipe = Experiment(
    "PCVR", "pcvr", attack=attack, rate=rate, seed=seed, model=model, data=data, task=task,
    steps=6 if fast else 250, watch=3 if fast else 50,
)  # fmt: skip
chosen = pcvr.get_attack(attack, task=task).fitted_to(model)
bench = LocalTrainer(recipe, pcvr.load(model), train, test, chosen)  # to train points here
case = bench.case if bench.case in grid.cases else grid.cases[0]
mine = grid.of(case)
print(f"{len(mine.points)} trainings, one for each defence setting: {case}")
print(grid.made)
if case != bench.case:
    print(f"Your parameters are another case, for each defence setting still to be trained: {bench.case}")

# %% [markdown]
# ## 1. Four knobs
#
# | knob | what it turns | 0 or small means |
# | --- | --- | --- |
# | share of patches | how much of the picture a view exchanges | the view hardly differs from the picture |
# | first look | after which share of the training the gate scores all samples | before anything is learned |
# | pull-apart weight | how hard a suspect is pushed off its answer | suspects are only left out of the loss |
# | entropy weight | how firmly the model is kept as sure as it was at the first look | no ceiling on doubt |
#
# Every other option stays at its default (`pcvr.PCVR()` prints them). *That views are made from patches, that outputs
# are pulled apart, and that there is an entropy constraint is the paper's; the knobs' values, the gate and the moment
# of its look are ours.*
#
# The shipped grid was trained on BadNets at 5 %, with captions, on tiny-llava: 400 steps, 2000 scenes, tested on 256,
# **one seed**. It holds the defaults and what differs from them in at most two knobs; `benchmarks/grid.py` goes on to
# all 54 combinations. Each training was watched on its way. With another model, task or data of your own the grid stays
# what it is, and the button in section 4 trains points of **your** case, which you then choose under *Attack*.
#
# **Predict before you look.** Write your answers down:
#
# 1. Which knob moves the attack success most?
# 2. What happens to the utility when the entropy weight is 0?
# 3. The first look comes half-way, and the pull-apart weight is 0: does the backdoor go away?
# 4. Can one have less backdoor and better answers at the same time, or does one pay for the other?

# %% [markdown]
# ## 2. The trade-off

# %%
from pcvr.plots.explorer import trade_off

title = f"{case}: one dot for each defence setting"
trade_off(mine.points, mine.references, chosen=mine.points[0], by="score_at", title=title)

# %% [markdown]
# Attack success (upwards, logarithmic above 1 %) against utility on clean pictures (to the right): good is **down and
# right**. Dots with a dark edge are on the **frontier**: no other setting is better in one figure without being worse
# in the other. The ring is the setting that the grid began with, the defence's defaults; its line is the 95 % interval.
#
# <details>
# <summary>How to read it</summary>
#
# - The orange cross is the same training without a defence, the blue plus the one on clean data. A defence that costs
#   nothing lies straight below the cross.
# - 256 pictures measure a utility of 90 % to within 2 points either way (one standard error), and each dot is one
#   training. Neighbours closer than that are not different. "0" stands for *below 1.2 %*.
# - A frontier of one or two points says that there is no trade-off to speak of: one setting is simply good.
#
# </details>

# %%
from pcvr.plots.explorer import knob_effects

knob_effects(mine.points, f"{case}: each value of a knob, for each defence setting that has it")

# %% [markdown]
# For each value of each knob all trainings that have it (dots) and their median (black), over all the other knobs.
# Compare with your predictions 1 and 2. Mind that the shipped grid is not whole: away from the defaults fewer other
# knobs were turned beside, so look at the dots before you believe a median.
#
# <details>
# <summary>What to look for</summary>
#
# - **The first look** decides *what the gate can see*. Early, the backdoor is not learned and poisoned answers are
#   calm because they are always the same; what is then left out is never learned. Late, the backdoor is complete.
# - **The pull-apart weight** matters where something has been learned that must be unlearned: look at its effect at a
#   late first look by itself (section 4), where the median over all looks hides it.
# - **The entropy weight**: if both medians agree within 2 points, the ceiling was not needed on this task. That is a
#   finding about scenes and a defence that pushes few samples, not about entropy constraints.
# - A wide heap above one value says that *another* knob decides there. A median over a grid answers no question about
#   one setting.
#
# </details>

# %% [markdown]
# ## 3. One point from inside

# %%
from pcvr.plots.explorer import point_curves

point_curves({"default": mine.points[0], "undefended": mine.references[0]})

# %% [markdown]
# How two trainings went, the defaults and no defence: the loss, what the defence reports, and the backdoor and the
# utility as they were watched on 64 pictures of each kind. Dotted: the gate looks.

# %%
from pcvr.plots.explorer import point_distributions

point_distributions({"default": mine.points[0], "undefended": mine.references[0]})

# %% [markdown]
# The same two on 48 test pictures, clean and triggered. Left, the probability of the attacker's whole target, word
# for word; right, how far the answer's distributions move when 60 % of the patches are exchanged (one view for all
# points, so that they can be compared).
#
# <details>
# <summary>What to look for</summary>
#
# An attack success of 0 hides a lot: is the target as unlikely on triggered pictures as on clean ones, or only a
# little less likely than the caption that won? The first is a backdoor that was never learned, the second one that
# sleeps.
#
# </details>

# %% [markdown]
# ## 4. The explorer
#
# Turn the knobs. Settings that the grid lacks are said to be missing. **Train here** trains the chosen setting now, in
# the background: the notebook stays free, *Cancel* ends it at the next step, and the new point is a green star beside
# the dots. It takes fewer steps and test pictures than the grid did, and says so: with fewer steps the backdoor has
# less time to form, too.

# %%
from pcvr.widgets.explorer import grid_explorer
from pcvr.widgets.explorer_source import GridSource

source = GridSource(grid, bench)
box, controls = grid_explorer(source)
box

# %% [markdown]
# What is chosen, in words; where it lies among all settings; how it was trained; how its distributions are spread.
# `source.fresh` holds the points that you trained.
#
# **Try this**
#
# - Prediction 3: first look 0.5 with pull-apart weight 0, then 4, then 16. When does the backdoor go, and what does
#   it cost? Watch the curve of the attack success after the dotted line.
# - Share of patches 0.3 with an early look: how many clean samples are suspected falsely? And with 0.9?
# - Train the default here. Is the star where the dot is? What of the difference is due to fewer steps, what to 128
#   test pictures in place of 256?

# %% [markdown]
# ## Exercise 07a: the frontier
# <!-- card difficulty=2 importance=4 minutes=10 -->
#
# A setting **beats** another one if it is better in one figure and no worse in the other: lower attack success at no
# lower utility, or higher utility at no higher attack success. Only settings that nobody beats are worth a thought.
#
# Write `frontier`: the indices, ascending, of the settings that no other one beats. Two that are equal in both figures
# do not beat each other.

# %%
import numpy as np


# %% tags=["exercise"]
def frontier(asr: np.ndarray, utility: np.ndarray) -> list[int]:
    """Attack success [N] (lower is better) and utility [N] (higher is better) -> indices of what nobody beats."""
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
    # |     no_worse = ...  # which settings are no worse than i in both figures, [N]
    # |     better = ...  # which are strictly better in at least one, [N]
    # |     # Keep i if no setting is both:
    # |     ...
    # | return ...
    # --- end


# %%
check.frontier(frontier)

# %% [markdown]
# On the grid, with the package's own function:

# %%
from pcvr.experiments import grid as grids
from pcvr.widgets.explorer_source import in_words, outcome

asr = np.array([p.asr for p in mine.points])
utility = np.array([p.utility for p in mine.points])
for i in grids.frontier(asr, utility):
    print(f"one of those that none beats, for each defence setting: {in_words(mine.points[i].setting)}")
    print(f"    {outcome(mine.points[i])}")

# %% [markdown]
# ## Exercise 07b: choose within a budget
# <!-- card difficulty=2 importance=5 minutes=10 -->
#
# Your users accept no utility below `least`. Among the settings that keep it, take the one with the lowest attack
# success; of several with that attack success the one with the highest utility (of equals, the first). Where no
# setting keeps it, return -1.
#
# Write `choose_setting`. It returns a place among *all* settings.


# %% tags=["exercise"]
def choose_setting(asr: np.ndarray, utility: np.ndarray, least: float) -> int:
    """Attack success [N], utility [N] and the least utility, in one unit -> index of the choice, or -1."""
    # --- solution
    fits = np.flatnonzero(utility >= least)
    if len(fits) == 0:
        return -1
    order = np.lexsort((fits, -utility[fits], asr[fits]))  # by attack success, then utility, then place
    return int(fits[order[0]])
    # --- stub
    # | fits = ...  # the places of the settings that keep the utility
    # | # None fits:
    # | ...
    # | # Of those the lowest attack success, then the highest utility:
    # | return ...
    # --- end


# %%
check.choose_setting(choose_setting)

# %% [markdown]
# ## 5. What is wrong with choosing so
#
# **Predict before you read on.** You have just chosen a setting by its attack success on 256 test pictures. Name two
# reasons why the figure you chose it by is too good to be true, and one why you could not have known it at all.
#
# <details>
# <summary>Answer</summary>
#
# - **The winner's luck.** Of so many noisy figures the best one is best partly by chance. Its attack success must be
#   measured again, on other pictures and with other seeds, before it is reported.
# - **The test was used twice**: once to choose, once to report. The defaults of this package were found on BadNets and
#   SIG in the same way; notebook 09 asks what they are worth elsewhere.
# - **A defender has no attack success.** They do not know the trigger. What they do have are clean pictures (so the
#   utility), the gate's scores, and their own attacks: poison your data with a trigger of your making and choose by
#   that one. Whether the choice carries over to the attacker's trigger is the real question.
#
# </details>

# %%
least = mine.references[0].utility - 2  # two points below what no defence gives
kept = [p for p in mine.points if p.utility >= least]
by_luck = min(kept or mine.points, key=lambda p: (p.asr, -p.utility))
low, high = (100 * end for end in by_luck.interval)
print(f"least utility {least:.1f}: {len(kept)} of {len(mine.points)} qualify, one training for each defence setting")
print(f"lowest attack success among them: {in_words(by_luck.setting)}")
print(f"its 95 % interval before any luck is allowed for: {low:.1f} to {high:.1f} %")

# %% [markdown]
# How many settings does that interval take in? Those are not worse than the winner as far as this grid can tell.

# %%
alike = [p for p in kept if 100 * p.asr <= high]
print(f"{len(alike)} of {len(kept)} settings lie within it")

# %% [markdown]
# ## 6. A sweep of your own
#
# The grid was made with three calls, and so is yours: lay out, run, look. Every run is written down as soon as it is
# there, so an interrupted sweep goes on where it was.
#
# `jobs` is the number of trainings at a time, by [joblib](https://joblib.readthedocs.io). On one machine more jobs
# than cores gain nothing. On a cluster the same call goes to many machines: inside
# `joblib.parallel_config(backend="dask")`, or `"ray"` after `ray.util.joblib.register_ray()`, it is sent there; the
# folder must then be one that all of them see.

# %%
from dataclasses import replace
from tempfile import TemporaryDirectory

from pcvr.experiments.grid import grid_of, lay_out, references, run_grid

knobs = {"apart_weight": (0.0, 4.0)} if fast else {"cap": (0.2, 0.4, 0.6), "apart_weight": (1.0, 4.0)}
size = {"samples": 32, "tests": 8, "steps": 3, "watch": 3} if fast else {"tests": 256, "steps": 400, "watch": 50}
plan = [*references(replace(recipe, **size)), *lay_out(replace(recipe, **size), knobs)]
print(f"{len(plan)} trainings: {[dict(e.options) or e.label for e in plan]}")

# %%
own = None
if sweep_here or (fast and data == "scenes"):
    with TemporaryDirectory() as scratch:
        folder = scratch if fast else "runs/my-sweep"  # your own folder stays, and is gone on with
        own = grid_of(run_grid(plan, folder, jobs=1 if fast else 2, progress=not fast), knobs)
figure = "Set sweep_here = True at the top to run it."
if own is not None:
    title = "My sweep: one dot for each defence setting"
    figure = trade_off(own.points, own.references, by="apart_weight", title=title)
figure

# %% [markdown]
# Your sweep as a trade-off, once it has run. `GridSource(own)` puts it into the explorer.
#
# ## Recap
#
# - A defence is a family of trainings; one number from one setting says little about it.
# - Look at both axes, keep to the frontier, and choose within a budget set beforehand.
# - Which knob matters depends on when: before the backdoor is learned it is enough not to learn it; afterwards it has
#   to be unlearned, and that needs a push.
# - The best of many is too good to be true; measure it again. And a real defender chooses without an attack success.
#
# **Who says what.** Patch views, pulling apart and an entropy constraint are the paper's
# ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)); it reports a study of its parameters that we could not read.
# Knobs, values, grid and every number here are ours, with one model of a toy's size and one seed.
#
# **Try it.** Three seeds of the default and of your favourite: `replace(recipe, seed=1)`. Other knobs: `fade`
# switched off, another `gate`, other operators of the view (as labels of your own, with `options=`). The same grid
# under SIG: does the same setting win?
#
# **Next:** notebook 08 lays other defences beside this one, and notebook 09 tries to break it.
