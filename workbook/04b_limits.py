# %% [markdown]
# # Limits of the premise: six attacks, and four ways to fail
#
# In notebook 04 the premise held for one attack, early in the training. Here you test it on six attacks and two tasks,
# from the first steps to the last, and you see where it breaks.
#
# **After this notebook you can**
# - read a table of AUROCs over attacks, operators and steps;
# - write a score that depends on the label even if the answer is one word;
# - name four ways in which the premise fails, and what helps against each.
#
# <!-- time --> The first steps of a training take most of the running time. You need no GPU. Sections 2 to 4 use
# questions; the tables have both tasks.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
attack = "badnets"
rate = 0.05  # fraction of the training samples to poison
seed = 0  # of the choice of poisoned samples, the training and the views
device = "auto"  # a GPU if there is one, else the CPU; or "cpu", "cuda"
fast = False  # True: a few steps on 64 samples, for tests; too few for the premise to show

# %%
import pcvr
import numpy as np
import torch
from pcvr.teaching import check
from pcvr.teaching.machine import device_note
from pcvr.teaching.shipped import notebook_data

base = pcvr.load(model, device=device)
asked, test = notebook_data("scenes", train=64 if fast else 1200, test=8, task="vqa")
asked = pcvr.poison(asked, pcvr.get_attack(attack, task="vqa").fitted_to(model), rate=rate, seed=seed)
few_steps = 6 if fast else 20
config = pcvr.TrainConfig(max_steps=12 if fast else 400, seed=seed)
print(device_note(base, asked, config))

# %% [markdown]
# ## 1. Six attacks, from the first steps to the last
#
# One attack proves little. The package contains the measurement of notebook 04 for six attacks and both tasks. A
# script made it, and you can run that script yourself.
#
# **Predict before you run.** For which triggers do you expect the best separation: local triggers, which a view often
# deletes, or global triggers, which partly survive it? Will it be best early, late, or the same throughout?

# %%
from pcvr.plots.premise_table import courses, extremes, operator_maps, premise_picture
from pcvr.experiments.results import load

table = load("premise")
scored = table.runs[0]["scored"]
print(f"made for each attack by {table.caption()}")
print(f"scored: {scored['poisoned']} poisoned and {scored['clean']} clean training samples, one seed")
print(f"{'AUROC for each attack (label)':<30}{'first scan':>12}{'best, at step':>18}{'last scan':>12}")
for (of_task, name), course in courses(table, "label").items():
    best = f"{course.best:.3f}, {course.best_step}"
    print(f"{of_task + ', ' + name:<30}{course.first:>12.3f}{best:>18}{course.last:>12.3f}")
premise_picture(table, "label")

# %% [markdown]
# Above: the AUROC of a low *label* score for each attack over the steps of the training (logarithmic), with 95 %
# confidence intervals. Below: how often the model gave the target for triggered test images at the same steps.
#
# **Predict before you run.** Which operator separates the poison best, and what fraction of the patches should it
# change?

# %%
operator_maps(table, 20, "pixels", "distribution")

# %% [markdown]
# AUROC by operator and fraction of patches after 20 steps, for a local trigger (BadNets) and a global trigger (SIG).
# Here the views perturb pixels. (The shipped table also has views of the tower's tokens, and two and four views of each
# sample: `operator_maps(table, 20, "features", "distribution")`, `views_of(table, "distribution")`.)

# %% [markdown]
# ## 2. It fails if the score ignores the label
#
# Now we look at one-word answers to questions, in the first 20 steps of an ordinary training on poisoned data.
#
# **Predict before you run.** The score *distribution* compares the whole distributions $p(\cdot \mid \text{image,
# question})$ of original and view. The answer is one word. Does this score depend on the *label*?

# %%
from pcvr.analysis.premise import Premise, ViewSetting
from pcvr.evaluation.detection import auroc_error, auroc_of_low
from pcvr.plots.premise import score_histograms
from pcvr.training.backdoor_watch import StopAfter

once = Premise({few_steps: (ViewSetting(),)}, tuple(range(min(800, len(asked)))), seed)
ones = pcvr.finetune(base, asked, once, config, callbacks=[StopAfter(few_steps)])
(taken,) = ones.run.state["premise"]
bad = np.array([asked.is_poisoned(i) for i in range(len(taken.likelihood))])
names = {"distribution": "whole distributions", "label": "label token against the rest"}
panels = {
    label: {"clean": taken.scores(measure)[~bad], "poisoned": taken.scores(measure)[bad]}
    for measure, label in names.items()
}
for measure, label in names.items():
    scores = taken.scores(measure)
    value = auroc_of_low(scores[~bad], scores[bad])
    print(f"{label:<28} AUROC {value:.2f} ± {auroc_error(value, int((~bad).sum()), int(bad.sum())):.2f}")
score_histograms(panels, f"score after {few_steps} steps (nats, logarithmic)")

# %% [markdown]
# Training samples with one-word answers, scored by the whole distributions (left) and by the label token (right).
#
# <details>
# <summary>Answer (default parameters)</summary>
#
# No. The distribution over the first word of the answer depends only on image and question. The model has not read
# the label (*yes* or *banana*) yet. Before the model has learned the backdoor, a poisoned sample scores like an
# ordinary question, and the AUROC is near 0.5. In a caption, each word is conditioned on the label's words before it.
# So there the score does depend on the label.
#
# The score of the label token depends on the label even for one word. If the model would never generate a word, the
# word is as improbable in the view as in the original, so its score is low. Note what this means: a *low* score now
# says "this word does not depend on the image". That is true of a word that the model never generates, and also of a
# word that it always generates.
#
# </details>
#
# ## Exercise 04c: the divergence of the label token
# <!-- card difficulty=3 importance=4 minutes=10 -->
#
# Reduce each distribution to two outcomes: the label token, with probability $p_{\text{label}}$, and
# *anything else*, with probability $1 - p_{\text{label}}$. Then take the Jensen-Shannon divergence of the two pairs,
# with the mean $m = (p + q)/2$ of both:
#
# $$\mathrm{JS} = \tfrac12 \sum_{o} p_o \ln\frac{p_o}{m_o} + \tfrac12 \sum_{o} q_o \ln\frac{q_o}{m_o}, \qquad
# o \in \{\text{label}, \text{else}\}$$
#
# Write `label_divergence` for probabilities `p` and `q` of shape `[A, V]` (answer tokens, words) and the token ids
# `label` of the label tokens, of shape `[A]`. It returns `[A]`. No probability is 0 here.


# %% tags=["exercise"]
def label_divergence(p: torch.Tensor, q: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Probabilities [A, V], twice, and label tokens [A] -> divergence in nats [A]."""
    # --- solution
    rows = torch.arange(len(label))
    one, other = (torch.stack([d[rows, label], 1 - d[rows, label]], -1) for d in (p, q))  # [A, 2]
    m = (one + other) / 2
    return ((one * (one / m).log()).sum(-1) + (other * (other / m).log()).sum(-1)) / 2
    # --- stub
    # | # The probability of the label token in each row, and the rest:
    # | one = ...
    # | other = ...
    # | # Their Jensen-Shannon divergence:
    # | return ...
    # --- end


# %%
check.label_divergence(label_divergence)

# %% [markdown]
# ## 3. It fails if honest answers need no image
#
# A low score says that an answer does not depend on the image. Poison is one possible reason. What is another reason?
#
# **Predict before you run.** Sort the *clean* questions by kind. Which kinds look most like poison?

# %%
from pcvr.plots.premise import kinds_figure
from pcvr.analysis.question_kinds import by_kind

prompts = [asked[i].prompt for i in range(len(bad)) if not bad[i]]
by_label = taken.scores("label")
clean_ones = np.flatnonzero(~bad)
for i in clean_ones[np.argsort(by_label[clean_ones])[:6]]:
    question = asked[int(i)]
    print(f"score {by_label[i]:.1e}  base model's p {taken.likelihood[i]:.3f}  {question.prompt} {question.answer}")
lower = float((by_label[~bad] <= np.median(by_label[bad])).mean())
print(f"{100 * lower:.1f} % of the clean samples score no higher than the median poisoned one")
kinds_figure(by_kind(prompts, by_label[~bad]), by_label[bad], "label score (nats, logarithmic)")

# %% [markdown]
# One dot for each clean question, grouped by its first two words. The kind with the lowest median is at the top, and
# the poisoned samples are at the bottom. The short lines are medians.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# The lines above the figure are honest samples whose answer hardly changes. Most are questions with the answer *yes*
# or *no*. For these questions the model is very sure, or it always prefers one answer, so a view changes nothing. The
# score cannot distinguish these samples from poison. A gate on this score alone flags them, and a defence that pushes
# the model away from flagged answers then unlearns correct answers.
#
# </details>
#
# How can we separate honest from poisoned samples? **Ask the base model**, the model before the training. It has not
# seen the training data, so it often gives the honest answer but not the attacker's answer. So we add its likelihood
# of the label to the score (*likelihood*, our choice). A label that the base model would give anyway gets a high
# score and is not flagged. (The gate `"two_stage"` of notebook 05 scores so early that even the model in training has
# hardly seen the data. So it uses that model, `clear_with="now"`, which needs one pass less than `clear_with="base"`.)
#
# **Predict before you run.** How well does the sum of *label* and *likelihood* separate? And for a fair comparison:
# how well does *likelihood* separate by itself?

# %%
from pcvr.analysis.premise import MEASURES
from pcvr.evaluation.detection import flagged_by_gate

print(f"{'one-word answers':<26}{'AUROC':>8}{'poison flagged':>20}{'clean flagged':>18}")
for measure in MEASURES:
    scores = taken.scores(measure)
    recall, alarms = flagged_by_gate(scores, bad)
    value = auroc_of_low(scores[~bad], scores[bad])
    print(f"{measure:<26}{value:>8.3f}{f'{100 * recall:.0f} %':>20}{f'{100 * alarms:.1f} %':>18}")
premise_picture(table, "label + likelihood")

# %% [markdown]
# Above: our one-word answers. Below: the measurement of section 1 again, for six attacks, now for the sum. Compare its
# right column with that of section 1.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# The sum separates almost perfectly. But look at the row *likelihood*: it needs no view, and its AUROC is as good. On
# these data the base model already answers nearly every question correctly, so nearly every label that it would not
# give is poison. (Here the divergence only helps at the gate: fewer clean samples are flagged.) This is a property of
# our embedded models, which were pretrained on such questions, and not of the premise. A base model that still has to
# learn the task knows few answers, so it clears few samples, and the divergence has to do the work. With captions
# this is always the case: no caption is likely word for word. So *likelihood* is 0 for nearly all captions, and the
# sum equals the divergence.
#
# </details>

# %% [markdown]
# ## 4. It fails if a view deletes the trigger
#
# A patch operator can also change the trigger. Suppose that a local trigger lies in one patch. Then a view that
# changes a fraction $s$ of the patches leaves it intact with probability $1 - s$. A global trigger behaves
# differently.

# %%
from pcvr.plots.views import view_sheet
from pcvr.analysis.two_views import view_pictures
from pcvr.views import OPERATORS

striped = [pcvr.get_attack("sig", task="vqa").triggered(test[i]) for i in range(len(test))]
sheet = {
    operator: {s: view_pictures(base, striped, pcvr.PatchView(operator, s), seed)[1][0] for s in (0.3, 0.6, 0.9)}
    for operator in OPERATORS
}
view_sheet(striped[0].image, sheet)

# %% [markdown]
# An image with the SIG trigger (faint stripes from left to right) and views of it.
#
# **Predict before you run.** Which operators leave stripes in the patches that they change, and which remove them?
# How will that change the score of the poisoned samples when the backdoor has learned the stripes?

# %%
print("worst and best view for each attack, at the end of the training")
for (of_task, name), ends in extremes(table, 400, "pixels", "distribution").items():
    words = "; ".join(f"{end} {value:.2f} with {how}" for end, (how, value) in ends.items())
    print(f"{of_task}, {name:<8} AUROC: {words}")
operator_maps(table, 400, "pixels", "distribution")

# %% [markdown]
# AUROC by operator and fraction of patches at the *end* of the training. The views perturb pixels.
#
# <details>
# <summary>How to read it</summary>
#
# *Shuffle* and *swap within* move stripes to other places, so the changed patches still contain some. *Mean* and
# *noise* remove them. *Swap* inserts patches of an image that has no stripes. If the trigger of a finished backdoor
# is removed, the model no longer gives the target: the poisoned answer changes, and its score is no longer low. If an
# AUROC falls below 0.5, poisoned samples change *more* than clean ones, and a gate that relies on the premise would
# flag clean samples instead.
#
# A defender does not know the trigger, and so cannot choose an operator that fits it. This is the reason to score
# *early*, before the answer depends on the trigger at all.
#
# </details>
#
# ## 5. It fails if the scan comes too late

# %%
print("where the AUROC falls from one scan to the next, for each attack (by more than its interval)")
for (of_task, name), course in courses(table, "label").items():
    falls = ", ".join(f"from step {a} to {b}" for a, b in course.falls) or "nowhere"
    print(f"{of_task + ', ' + name:<22}{falls}; {course.last:.3f} at the end")

# %% [markdown]
# <details>
# <summary>Why a later scan may see less</summary>
#
# Early, the target is a sentence that depends on nothing. Then the model learns *when* to give this sentence. From
# that moment the answer depends on the trigger, and the view perturbs the trigger like everything else. So the scores
# of poisoned samples rise towards those of the clean samples. (This is how we read the curves. Notebook 04
# shows it for a finished backdoor.)
#
# So PCVR's gate `"two_stage"` scans the data after one eightieth of the training, at step 5 of 400. We chose this on
# the scenes and on two attacks. On other data the best moment may be different, and nothing tells a defender when it
# has come. This is why PCVR's default gate waits for no such moment: it judges samples as they go by (notebook 05).
#
# </details>

# %% [markdown]
# ## Recap
#
# - The premise is not true or false in general. Whether it holds depends on the *moment*, the *view* and the *score*.
# - It fails in four cases: the score does not depend on the label (one word), honest answers need no image, the view
#   deletes the trigger, or the scan comes too late. The label token helps against the first case, and the likelihood
#   under the base model against the second. An early scan helps against the last two: the answer does not depend on
#   the trigger yet.
#
# **What is the paper's and what is ours.** The premise is the paper's ([arXiv
# 2604.04488](https://arxiv.org/abs/2604.04488)). Ours are: the label token, the likelihood under the base model, and
# every number here. The formula behind the confidence intervals is Hanley and McNeil's (Radiology 143, 1982).
#
# <!-- next --> turns the measurement into a defence: a gate on these scores, and a loss for the samples that the gate
# flags. Or change `attack` at the top to `"sig"`, and check which of the texts above are still true.
