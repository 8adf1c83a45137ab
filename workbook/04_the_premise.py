# %% [markdown]
# # The premise: are backdoored answers too invariant?
#
# The defence of this workbook relies on a premise, and you should measure a premise before you use it. Do backdoored
# answers really change less than honest ones when patches of the image are perturbed? When is this true, and where
# does it fail?
#
# **After this notebook you can**
# - see abnormal invariance in a single image (the answer stays the same although patches change), and say which views
#   show it and which do not;
# - read an AUROC (a measure of separation) as a fraction of pairs, and compute one with ties;
# - score training samples during training, conditioned on their labels;
# - choose a threshold for such scores, knowing only clean samples.
#
# <!-- time --> The first steps of a training take most of the running time. You need no GPU.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa": a question about each image, answered in one word
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"
rate = 0.05  # fraction of the training samples to poison
seed = 0  # of the choice of poisoned samples, the training and the views
device = "auto"  # a GPU if there is one, else the CPU; or "cpu", "cuda"
fast = False  # True: 12 steps on 64 samples, for tests; too few for the premise to show
retrain = False  # True: train the backdoored model here (a minute) instead of loading the shipped one

# %%
import numpy as np

import pcvr
from pcvr.data.subset import subset
from pcvr.tasks import get_task
from pcvr.teaching import check
from pcvr.teaching.machine import device_note
from pcvr.teaching.shipped import Copies, notebook_data

config = pcvr.TrainConfig(max_steps=12 if fast else 400, seed=seed)
base = pcvr.load(model, device=device)
chosen = pcvr.get_attack(attack, task=task).fitted_to(model)
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 96, task=task)
poisoned = pcvr.poison(train, chosen, rate=rate, seed=seed)
copies = Copies(model, data, attack, rate, seed, task, retrain)
backdoored = copies.load("backdoored", device) or pcvr.finetune(base, poisoned, config=config).model
print(f"{len(test)} test images; attack: {attack}; target: “{chosen.target}”")
print(device_note(base, train, config))

# %% [markdown]
# ## The premise in one sentence
#
# *Backdoored answers are abnormally invariant to patch perturbations* (the paper, [arXiv
# 2604.04488](https://arxiv.org/abs/2604.04488)). An honest answer depends on what the whole image shows. A backdoored
# answer depends only on the trigger. So perturb patches, and compare the model's output distributions before and
# after. Honest answers should change, and backdoored answers should not.
#
# This sounds plausible, but a plausible premise still has to be tested. It is also vague. Which perturbation? Which
# answer? At which moment of the training? In this notebook you measure the effect of each such choice.

# %% [markdown]
# ## 1. Two images, four views
#
# We take the model of notebook 03 with its complete backdoor, one image, and the same image with the trigger. The
# next figure shows each of the two images in four views. A view replaces six patches in ten with patches of another
# image. The clean and the triggered image lose the same patches. In every view, the model reads along the answer that
# it gives to the unperturbed image. (This is teacher forcing: we give the model the words of this answer, and we
# record its distribution at each word.)
#
# **Predict before you run.** Which answer stays the same, the answer to the clean image or to the triggered image?
# Will the answer to the triggered image change in some of the four views as well? (Look for the trigger.)

# %%
from pcvr.evaluation.asr import hits
from pcvr.plots.premise import flipbook
from pcvr.analysis.invariance import target_on_views
from pcvr.analysis.triggered_pair import triggered_pair

few = [test[i] for i in range(min(8, len(test)))]
marked = [chosen.triggered(sample) for sample in few]
said = pcvr.generate(backdoored, [s.image for s in marked], [s.prompt for s in marked])
pick = int(np.argmax(hits(said, chosen.target, get_task(task).success)))  # the first image on which the backdoor fires
shown = triggered_pair(backdoored, few, pick, chosen, pcvr.PatchView("swap", 0.6), seeds=(5, 0, 6, 1))
print(f"prompt: {few[pick].prompt}")
fires = target_on_views(backdoored, subset(test, min(32, len(test))), chosen, pcvr.PatchView("swap", 0.6), seed)
words = {"clean": "of clean images", "kept": "with the trigger intact", "lost": "with the trigger damaged or gone"}
for name, (count, n) in fires.items():
    print(f"views {words[name]:<32} target given for {count:>2} of {n}")
flipbook({f"{name} image": tellings for name, tellings in shown.items()})

# %% [markdown]
# Upper half: the clean image and four views of it. Below each image are the most likely words at the token of the
# answer where the views differ most. Lower half: the same for the triggered image. The number above each view is its
# divergence from the original, summed over the whole answer.
#
# The measure is the **Jensen-Shannon divergence** between the two distributions at a token. It is 0 where they agree,
# and at most ln 2 = 0.69 nats where they have no word in common. You will write it yourself in notebook 05.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# The clean answer changes in all four views (see the numbers above them), although not always at the token that is
# shown. The triggered answer depends on the view. Where the white square at the bottom right is still there (first
# and third view), almost nothing changes. Where the square is gone, the model has lost the only thing that its answer
# depended on, and the answer changes like any other. The counts above the figure show the same for more images. So
# for a *finished* backdoor with a *local* trigger (one place of the image), the premise holds for some views and not
# for others. Notebook 06 examines such images word by word.
#
# </details>

# %% [markdown]
# ## 2. Many images, and what an AUROC is
#
# One image is only an anecdote. The next figure takes one view of every test image, clean and triggered, and shows
# the two distributions of scores.
#
# **Predict before you run.** Will the triggered images lie to the left of the clean ones, clearly apart from them, or
# among them?

# %%
from pcvr.plots.histograms import invariance_histograms
from pcvr.analysis.invariance import measure_invariance

view = pcvr.PatchView("swap", 0.6)
spreads = {
    kind: measure_invariance(backdoored, test, chosen, view, shown=kind, seed=seed).whole
    for kind in ("clean", "triggered")
}
invariance_histograms({"finished backdoor, one view": spreads}, xlabel="divergence over the answer (nats)")

# %% [markdown]
# The divergence of one view of each image from the original, summed over the tokens of the answer, for clean and for
# triggered images. The bars of each group add up to 100 %.
#
# How well can we separate two groups of scores? A threshold gives two error rates: clean images below it, and
# triggered images above it. Another threshold gives two other error rates. The **AUROC** needs no threshold. Take
# every pair of one triggered and one clean image, and ask: *does the triggered image have the lower score?* The AUROC
# is the fraction of pairs for which the answer is yes.

# %%
from pcvr.plots.premise import pair_square

pair_square(spreads["clean"], spreads["triggered"])

# %% [markdown]
# All pairs as a square: one row for each triggered image, one column for each clean image, lowest scores first. A
# pair is dark if the triggered image has the lower score. The edge of the dark area is the curve that gave AUROC its
# name (area under the receiver operating characteristic).
#
# <details>
# <summary>How to read one</summary>
#
# - **1**: every triggered image scores below every clean one. **0.5**: no better than a random guess. **Below 0.5**:
#   the score separates the groups, but in the wrong direction. For a premise, that is worse than nothing.
# - It does not say how *many* samples to flag. With one poisoned sample in twenty, even an AUROC of 0.9 means that
#   many clean samples score below the median poisoned sample. So a gate (a rule that flags samples with low scores)
#   has to be precise at the low end.
# - It is an estimate with limited precision. With a hundred poisoned samples or fewer, differences in the second
#   decimal are often chance. The figures below show 95 % confidence intervals.
#
# </details>

# %% [markdown]
# ## Exercise 04a: AUROC, ties included
# <!-- card difficulty=2 importance=4 minutes=10 -->
#
# Write `auroc` for the scores of N clean and M suspect samples. It is the fraction of the N × M pairs in which the
# *suspect* sample has the **lower** score. If both scores are equal, the pair counts one half. So a score that is the
# same for all samples gives 0.5: it contains no information.
#
# There are two ways. You can compare every pair (broadcast `suspect[:, None]` against `clean`). Or you can rank all
# scores together, with the mean rank for equal scores (`scipy.stats.rankdata`). If $R$ is the sum of the suspects'
# ranks,
#
# $$\text{AUROC} = 1 - \frac{R - M(M+1)/2}{N M}$$
#
# because $M(M+1)/2$ is this sum if all suspects come first. With ranks you need no table of all pairs. This matters
# for millions of samples.


# %% tags=["exercise"]
def auroc(clean: np.ndarray, suspect: np.ndarray) -> float:
    """Scores [N] and [M] -> the probability that a suspect scores below a clean sample."""
    # --- solution
    from scipy.stats import rankdata

    n, m = len(clean), len(suspect)
    ranks = rankdata(np.concatenate([clean, suspect]))[n:]  # the suspects' ranks among all
    return float(1 - (ranks.sum() - m * (m + 1) / 2) / (n * m))
    # --- stub
    # | # Either compare all pairs, or rank all scores together:
    # | return ...
    # --- end


# %%
check.auroc(auroc)

# %% [markdown]
# ## 3. Training samples, during training
#
# A defender has no triggered test images. They have the training data with their labels, and a model that is being
# trained on these data. So we compute the score there: how far apart are image and view *along the label*? (The label
# is the answer in the training data.) For poisoned samples the label is the target, even if the model would not
# generate it yet.
#
# `Premise` is not a defence. It is ordinary fine-tuning that pauses at some steps to score training samples. A test
# makes sure that the training continues as if nothing had happened.
#
# **Predict before you run.** We score after 10, 20 and 40 of 400 steps. The backdoor does not fire yet. Can the score
# already separate the poisoned samples?

# %%
from pcvr.training.backdoor_watch import StopAfter
from pcvr.plots.premise import score_histograms
from pcvr.analysis.premise import Premise, ViewSetting

scans = (3, 6, 12) if fast else (10, 20, 40)
setting = ViewSetting()  # the view that the defence uses
rows = tuple(range(min(800, len(poisoned))))
rule = Premise(dict.fromkeys(scans, (setting,)), rows, seed)
early = pcvr.finetune(base, poisoned, rule, config, callbacks=[StopAfter(scans[-1])])
found = early.run.state["premise"]
truth = np.array([poisoned.is_poisoned(i) for i in rows])  # for our evaluation only: a defender does not know it
print(f"{truth.sum()} of {len(truth)} scored samples are poisoned; view: {setting.view}")
both = {
    t.step: {"clean": t.scores("distribution")[~truth], "poisoned": t.scores("distribution")[truth]}
    for t in (found[0], found[-1])
}
score_histograms({f"after {step} steps": groups for step, groups in both.items()})

# %% [markdown]
# Scores of the training samples at the first and at the last scoring, on a logarithmic axis. The colours show the
# truth, which the defender does not know.

# %%
from pcvr.analysis.premise import table_rows
from pcvr.evaluation.detection import auroc_error
from pcvr.plots.premise_table import auroc_lines

lines: dict[str, list[tuple[float, float, float]]] = {"distribution": [], "label": []}
for row in table_rows(found, truth):
    for measure, points in lines.items():
        value = row["auroc"][measure]
        points.append((row["step"], value, auroc_error(value, int((~truth).sum()), int(truth.sum()))))
now = pcvr.evaluate(early.model, subset(test, min(64, len(test))), chosen)
print(f"after {scans[-1]} steps the model gives the target for {100 * now.asr:.0f} % of the triggered images")
auroc_lines({f"{attack}, one view of each sample": lines})

# %% [markdown]
# AUROC of a low score at each scoring, with 95 % confidence intervals, for two scores. *Distribution* compares the
# whole distributions over all words. *Label* compares only the probability of the label token, the token that the
# data contain at this place, against all other words (notebook 04b explains why). The dotted line is a random guess.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# With captions, the poisoned samples form a separate group within a few steps, long before the backdoor fires. The
# model first learns that *the same sentence is repeated*. This sentence depends on nothing in the image: not on the
# objects, and not yet on the trigger. At this moment the premise holds best. With `task = "vqa"` the figure looks
# different, and notebook 04b explains why.
#
# </details>

# %% [markdown]
# ## Exercise 04b: a threshold
# <!-- card difficulty=2 importance=4 minutes=8 -->
#
# A gate flags every sample whose score lies *below* a threshold. You do not know which samples are poisoned, but you
# have the scores of some that you trust, and you can bear that a fraction `budget` of clean samples is flagged. Write
# `choose_threshold`: the highest threshold with at most this fraction of `clean` below it.


# %% tags=["exercise"]
def choose_threshold(clean: np.ndarray, budget: float) -> float:
    """Scores [N] of clean samples -> the highest threshold that flags at most `budget` of them."""
    # --- solution
    return max(t for t in [*clean, np.inf] if (clean < t).mean() <= budget)
    # --- stub
    # | # Which thresholds make a difference? Only the scores themselves.
    # | return ...
    # --- end


# %%
check.choose_threshold(choose_threshold)

# %% [markdown]
# ## 4. Explore
#
# One image with and without the trigger, three views of each, and any operator, fraction and level. On the level
# *features* the image itself does not change: grey areas mark the tokens of the tower that were replaced.

# %%
from pcvr.widgets.premise import PairSource, PremiseChoice, premise_explorer

box, controls = premise_explorer(PairSource(backdoored, few, chosen), PremiseChoice(sample=pick))
box

# %% [markdown]
# Things to try:
#
# 1. Move **View seed** until a view of the triggered image has lost the trigger. How does the bar of the answer's
#    word change?
# 2. **Fraction** 0.1: is a clean answer also invariant if only a few patches change?
# 3. **Operator** *noise* on a clean image: is there a view that moves the backdoored model towards the target?
# 4. **Level** *features* and *pixels* at the same fraction: which changes a clean answer more?

# %% [markdown]
# ## Recap
#
# - The premise is not true or false in general. Whether it holds depends on the *moment*, the *view* and the *score*.
#   Measure it before you use it.
# - It holds best early, when the poisoned answer depends on nothing in the image, not even on the trigger.
# - AUROC is a fraction of pairs. Ties count one half. An AUROC is an estimate and needs a confidence interval.
#
# **What is the paper's and what is ours.** The premise is the paper's. Ours are: the measurement on training samples
# along the label, its early moment, the Jensen-Shannon divergence summed over tokens, and every number here. The
# formula behind the confidence intervals is Hanley and McNeil's (Radiology 143, 1982).
#
# <!-- next --> tests the premise on six attacks, and finds four cases in which it fails.
