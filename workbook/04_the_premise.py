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
# - name four ways in which the premise fails, and what helps against each.
#
# **Time and hardware:** 40 minutes with both exercises. The cells run in a little over a minute on two CPU cores. The
# first steps of two trainings take most of that time. You need no GPU.

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
from pcvr.teaching.shipped import notebook_data, shipped_fits, shipped_adapters

config = pcvr.TrainConfig(max_steps=12 if fast else 400, seed=seed)
base = pcvr.load(model, device=device)
chosen = pcvr.get_attack(attack, task=task).fitted_to(model)
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 128, task=task)
poisoned = pcvr.poison(train, chosen, rate=rate, seed=seed)
if shipped_fits(model, data, attack, rate, seed, task) and not retrain:
    backdoored = pcvr.load(model, device=device, adapter=shipped_adapters(model, task)["backdoored"])
else:
    backdoored = pcvr.finetune(base, poisoned, config=config).model
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
from pcvr.analysis.triggered_pair import triggered_pair

few = [test[i] for i in range(min(8, len(test)))]
marked = [chosen.triggered(sample) for sample in few]
said = pcvr.generate(backdoored, [s.image for s in marked], [s.prompt for s in marked])
pick = int(np.argmax(hits(said, chosen.target, get_task(task).success)))  # the first image on which the backdoor fires
shown = triggered_pair(backdoored, few, pick, chosen, pcvr.PatchView("swap", 0.6), seeds=(5, 0, 6, 1))
print(f"prompt: {few[pick].prompt}")
flipbook({f"{name} image": tellings for name, tellings in shown.items()})

# %% [markdown]
# Upper half: the clean image and four views of it. Below each image are the most likely words at the token of the
# answer where the views differ most. Lower half: the same for the triggered image. The number above each view is its
# divergence from the original, summed over the whole answer.
#
# The measure is the **Jensen-Shannon divergence** between the two distributions at a token. It is 0 where they agree,
# and at most ln 2 = 0.69 nats where they have no word in common. You will write it yourself in notebook 05.

# %%
from pcvr.analysis.invariance import target_on_views

fires = target_on_views(backdoored, subset(test, min(48, len(test))), chosen, pcvr.PatchView("swap", 0.6), seed)
words = {"clean": "of clean images", "kept": "with the trigger intact", "lost": "with the trigger damaged or gone"}
for name, (count, n) in fires.items():
    print(f"views {words[name]:<32} target given for {count:>2} of {n}")

# %% [markdown]
# <details>
# <summary>What to look for (default parameters)</summary>
#
# The clean answer changes in all four views (see the numbers above them), although not always at the token that is
# shown. The triggered answer depends on the view. Where the white square at the bottom right is still there (first
# and third view), almost nothing changes. Where the square is gone, the model has lost the only thing that its answer
# depended on, and the answer changes like any other. The counts show the same for more images. So for a *finished*
# backdoor with a *local* trigger (one place of the image), the premise holds for some views and not for others.
# Notebook 06 examines such images word by word.
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
from pcvr.evaluation.detection import auroc_of_low

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
rows = tuple(range(min(1000, len(poisoned))))
rule = Premise(dict.fromkeys(scans, (setting,)), rows, seed)
early = pcvr.finetune(base, poisoned, rule, config, callbacks=[StopAfter(scans[-1])])
found = early.run.state["premise"]
truth = np.array([poisoned.is_poisoned(i) for i in rows])  # for our evaluation only: a defender does not know it
print(f"{truth.sum()} of {len(truth)} scored samples are poisoned; view: {setting.view}")

# %%
both = {
    t.step: {"clean": t.scores("distribution")[~truth], "poisoned": t.scores("distribution")[truth]}
    for t in (found[0], found[-1])
}
score_histograms({f"after {step} steps": groups for step, groups in both.items()})

# %% [markdown]
# Scores of the training samples at the first and at the last scoring, on a logarithmic axis. The colours show the
# truth, which the defender does not know.

# %%
from pcvr.plots.premise_table import auroc_lines
from pcvr.analysis.premise import table_rows
from pcvr.evaluation.detection import auroc_error

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
# data contain at this place, against all other words (section 5 explains why). The dotted line is a random guess.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# With captions, the poisoned samples form a separate group within a few steps, long before the backdoor fires. The
# model first learns that *the same sentence is repeated*. This sentence depends on nothing in the image: not on the
# objects, and not yet on the trigger. At this moment the premise holds best. With `task = "vqa"` the figure looks
# different, and section 5 explains why.
#
# </details>

# %% [markdown]
# ## 4. Six attacks, from the first steps to the last
#
# One attack proves little. The package contains the same measurement for six attacks and both tasks. A script made
# it, and you can run that script yourself.
#
# **Predict before you run.** For which triggers do you expect the best separation: local triggers, which a view often
# deletes, or global triggers, which partly survive it? Will it be best early, late, or the same throughout?

# %%
from pcvr.plots.premise_table import courses, extremes, operator_maps, premise_picture, views_of
from pcvr.experiments.results import load

table = load("premise")
scored = table.runs[0]["scored"]
print(f"made for each attack by {table.caption()}")
print(f"scored: {scored['poisoned']} poisoned and {scored['clean']} clean training samples, one seed")

# %%
premise_picture(table, "label")

# %% [markdown]
# Above: the AUROC of a low *label* score for each attack over the steps of the training (logarithmic), with 95 %
# confidence intervals. Below: how often the model gave the target for triggered test images at the same steps.

# %%
print(f"{'AUROC for each attack (label)':<30}{'first scan':>12}{'best, at step':>18}{'last scan':>12}")
for (of_task, name), course in courses(table, "label").items():
    best = f"{course.best:.3f}, {course.best_step}"
    print(f"{of_task + ', ' + name:<30}{course.first:>12.3f}{best:>18}{course.last:>12.3f}")

# %% [markdown]
# **Predict before you run.** Which operator separates the poison best, and what fraction of the patches should it
# change?

# %%
operator_maps(table, 20, "pixels", "distribution")

# %% [markdown]
# AUROC by operator and fraction of patches after 20 steps, for a local trigger (BadNets) and a global trigger (SIG).
# Here the views perturb pixels.

# %%
operator_maps(table, 20, "features", "distribution")

# %% [markdown]
# The same figure for views that perturb the tokens of the frozen tower. Such a view needs no pass through the tower.

# %%
auroc_lines(views_of(table, "distribution"), "views of each sample", what="for each attack")

# %% [markdown]
# AUROC by the number of views, early and at the end. The score is the mean over one, two or four views.
#
# <details>
# <summary>What more views can and cannot do</summary>
#
# Averaging reduces the random part of a score: which patches were changed, and what replaced them. So it helps if the
# two groups have different *means* and overlap only because the scores vary a lot. It does not help if the means are
# equal. Each view also costs a pass over all the data.
#
# </details>

# %% [markdown]
# ## 5. Where it fails
#
# ### The distribution over the first word ignores the label
#
# Now we look at one-word answers to questions, in the first 20 steps of an ordinary training on poisoned data.
#
# **Predict before you run.** The score *distribution* compares the whole distributions $p(\cdot \mid \text{image,
# question})$ of original and view. The answer is one word. Does this score depend on the *label*?

# %%
few_steps = scans[1]
if (task, data) == ("vqa", "scenes"):
    asked, ones = poisoned, early
    taken = next(t for t in found if t.step == few_steps)
else:
    questions, _ = notebook_data("scenes", train=64 if fast else 1000, test=16, task="vqa")
    asked = pcvr.poison(questions, pcvr.get_attack(attack, task="vqa").fitted_to(model), rate=rate, seed=seed)
    once = Premise({few_steps: (setting,)}, tuple(range(min(1000, len(asked)))), seed)
    ones = pcvr.finetune(base, asked, once, config, callbacks=[StopAfter(few_steps)])
    (taken,) = ones.run.state["premise"]
bad = np.array([asked.is_poisoned(i) for i in range(len(taken.likelihood))])

# %%
names = {"distribution": "whole distributions", "label": "label token against the rest"}
panels = {
    label: {"clean": taken.scores(measure)[~bad], "poisoned": taken.scores(measure)[bad]}
    for measure, label in names.items()
}
score_histograms(panels, f"score after {few_steps} steps (nats, logarithmic)")

# %% [markdown]
# Training samples with one-word answers, scored by the whole distributions (left) and by the label token (right).

# %%
for measure, label in names.items():
    scores = taken.scores(measure)
    value = auroc_of_low(scores[~bad], scores[bad])
    print(f"{label:<28} AUROC {value:.2f} ± {auroc_error(value, int((~bad).sum()), int(bad.sum())):.2f}")

# %% [markdown]
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
# ## Exercise 04b: the divergence of the label token
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

# %%
import torch


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
# ### Questions that need no image
#
# A low score says that an answer does not depend on the image. Poison is one possible reason. What is another reason?
#
# **Predict before you run.** Sort the *clean* questions by kind. Which kinds look most like poison?

# %%
from pcvr.plots.premise import kinds_figure
from pcvr.analysis.question_kinds import by_kind

prompts = [asked[i].prompt for i in range(len(bad)) if not bad[i]]
by_label = taken.scores("label")
kinds_figure(by_kind(prompts, by_label[~bad]), by_label[bad], "label score (nats, logarithmic)")

# %% [markdown]
# One dot for each clean question, grouped by its first two words. The kind with the lowest median is at the top, and
# the poisoned samples are at the bottom. The short lines are medians.

# %%
clean_ones = np.flatnonzero(~bad)
for i in clean_ones[np.argsort(by_label[clean_ones])[:6]]:
    question = asked[int(i)]
    print(f"score {by_label[i]:.1e}  base model's p {taken.likelihood[i]:.3f}  {question.prompt} {question.answer}")
lower = float((by_label[~bad] <= np.median(by_label[bad])).mean())
print(f"{100 * lower:.1f} % of the clean samples score no higher than the median poisoned one")

# %% [markdown]
# <details>
# <summary>What to look for (default parameters)</summary>
#
# These are honest samples whose answer hardly changes. Most are questions with the answer *yes* or *no*. For these
# questions the model is very sure, or it always prefers one answer, so a view changes nothing. The score cannot
# distinguish these samples from poison. A gate on this score alone flags them, and a defence that pushes the model
# away from flagged answers then unlearns correct answers.
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

# %% [markdown]
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

# %%
premise_picture(table, "label + likelihood")

# %% [markdown]
# The measurement of section 4 again, now for the sum. Above: the AUROC for each attack over the steps of the
# training, with 95 % confidence intervals. Below: the attack success rate at the same steps. Compare the right column
# with that of section 4.

# %% [markdown]
# ### A view that deletes the trigger
#
# A patch operator can also change the trigger. Suppose that a local trigger lies in one patch. Then a view that
# changes a fraction $s$ of the patches leaves it intact with probability $1 - s$. A global trigger behaves
# differently.

# %%
from pcvr.plots.views import view_sheet
from pcvr.analysis.two_views import view_pictures
from pcvr.views import OPERATORS

striped = [pcvr.get_attack("sig", task=task).triggered(sample) for sample in few]
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
operator_maps(table, 400, "pixels", "distribution")

# %% [markdown]
# AUROC by operator and fraction of patches at the *end* of the training. The views perturb pixels.

# %%
print("worst and best view for each attack, at the end of the training")
for (of_task, name), ends in extremes(table, 400, "pixels", "distribution").items():
    words = "; ".join(f"{end} {value:.2f} with {how}" for end, (how, value) in ends.items())
    print(f"{of_task}, {name:<8} AUROC: {words}")

# %% [markdown]
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
# ### Too late

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
# of poisoned samples rise towards those of the clean samples. (This is how we read the curves. Sections 1 and 2 show
# it for a finished backdoor.)
#
# So PCVR's gate `"two_stage"` scans the data after one eightieth of the training, at step 5 of 400. We chose this on
# the scenes and on two attacks. On other data the best moment may be different, and nothing tells a defender when it
# has come. This is why PCVR's default gate waits for no such moment: it judges samples as they go by (notebook 05).
#
# </details>

# %% [markdown]
# ## 6. Explore
#
# One image with and without the trigger, three views of each, and any operator, fraction and level. On the level
# *features* the image itself does not change: grey areas mark the tokens of the tower that were replaced. The
# controls call an ordinary function of the package. First we call it by hand, then with controls.

# %%
from pcvr.widgets.premise import PremiseChoice, PairSource, premise_figure, premise_explorer

source = PairSource(backdoored, few, chosen)
premise_figure(source, PremiseChoice(sample=pick, operator="mean", fraction=0.9))

# %% [markdown]
# The figure for one choice: nearly every patch is replaced by the mean colour of the image.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# In views without any object, the triggered row may stay the same although the trigger is gone. Such a view shows
# almost nothing of the image. When the model reads along *a photo of*, it continues with the target, because nothing
# contradicts it. If a view is too strong, all answers look alike, and then the score says nothing.
#
# </details>

# %%
box, controls = premise_explorer(source, PremiseChoice(sample=pick))
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
# - It fails in four cases: the score does not depend on the label (one word), honest answers need no image, the view
#   deletes the trigger, or the scan comes too late. Each case has its own remedy, in the same order: the label token,
#   the likelihood under the base model, another operator, an early scan.
#
# **What is the paper's and what is ours.** The premise is the paper's. Ours are: the measurement on training samples
# along the label, its early moment, the Jensen-Shannon divergence summed over tokens, the label token, the likelihood
# under the base model, and every number here. The formula behind the confidence intervals is Hanley and McNeil's
# (Radiology 143, 1982).
#
# **Next:** [05 PCVR](05_pcvr.ipynb) turns the measurement into a defence: a gate on these scores, and a loss for the
# samples that the gate flags. Or change `attack` at the top to `"sig"`, or `task` to `"vqa"`, and check which of the
# texts above are still true.
