# %% [markdown]
# # The premise: are backdoored answers too calm?
#
# A defence stands on a premise, and before you use it you measure it: do backdoored answers really change less than
# honest ones when patches of the picture are perturbed, when, and where does that fail?
#
# **After this notebook you can**
# - see abnormal invariance in a single picture, and say which of its views show it and which do not;
# - read an AUROC as a share of pairs, and compute one with ties;
# - score training samples while a model trains, conditioned on what the data claim;
# - name four ways in which the premise fails, and what helps against each.
#
# **Time and hardware:** 40 minutes with both exercises; a bit over a minute to run on two CPU cores, most of it the
# first steps of two trainings. No GPU needed.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa": a question about each picture, answered in one word
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"
rate = 0.05  # share of training samples to poison
seed = 0  # of the poison draw, the training and the views
fast = False  # True: 12 steps on 64 samples, for tests; too few for the premise to show
retrain = False  # True: train the backdoored model here (a minute) instead of loading the shipped one

# %%
import numpy as np

import pcvr
from pcvr.data.subset import subset
from pcvr.tasks import get_task
from pcvr.teaching import check
from pcvr.teaching.shipped import notebook_data, shipped_fits, shipped_adapters

config = pcvr.TrainConfig(steps=12 if fast else 400, seed=seed)
base = pcvr.load(model)
chosen = pcvr.get_attack(attack, task=task).fitted_to(model)
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 128, task=task)
poisoned = pcvr.poison(train, chosen, rate=rate, seed=seed)
if shipped_fits(model, data, attack, rate, seed, task) and not retrain:
    backdoored = pcvr.load(model, adapter=shipped_adapters(model, task)["backdoored"])
else:
    backdoored = pcvr.finetune(base, poisoned, config=config).model
print(f"{len(test)} test pictures; attack: {attack}; target: “{chosen.target}”")

# %% [markdown]
# ## The premise in one sentence
#
# *Backdoored answers are abnormally invariant to patch perturbations* (the paper, [arXiv
# 2604.04488](https://arxiv.org/abs/2604.04488)). An honest answer hangs on what is in the picture, all over it. A
# backdoored one hangs on the trigger alone. So perturb patches, and compare what the model was about to say before and
# after: honest answers should move, backdoored ones should not.
#
# It sounds plausible, which is the most dangerous thing a premise can be. It is also vague: which perturbation, which
# answer, at which moment of the training? Here every such choice becomes a number.

# %% [markdown]
# ## 1. Two pictures, four views
#
# We take the model of notebook 03, its backdoor complete, one picture, and the picture's **twin** with the trigger on.
# Each is shown four times with six patches in ten swapped for those of another picture; both twins lose the same
# patches. Every time the model reads along the answer that it gives to the unperturbed picture.
#
# **Predict before you run.** In which row do the words stay where they are? And is there a view among the four in which
# you expect the triggered row to move as well? (Look for the trigger.)

# %%
from pcvr.evaluation.asr import hits
from pcvr.plots.premise import flipbook
from pcvr.analysis.triggered_pair import triggered_pair

few = [test[i] for i in range(min(8, len(test)))]
marked = [chosen.triggered(sample) for sample in few]
said = pcvr.generate(backdoored, [s.image for s in marked], [s.prompt for s in marked])
pick = int(np.argmax(hits(said, chosen.target, get_task(task).success)))  # the first on which the backdoor fires
shown = triggered_pair(backdoored, few, pick, chosen, pcvr.PatchView("swap", 0.6), seeds=(5, 0, 6, 1))
print(f"asked: {few[pick].prompt}")
flipbook({f"{name} picture": tellings for name, tellings in shown.items()})

# %% [markdown]
# Upper half: the clean picture, four views of it, and under each the likeliest words at the token of the answer where
# the views differ most. Lower half: the same for the triggered twin. Above each view stands how far it is from the
# original, summed over the whole answer.
#
# The measure is the **Jensen-Shannon divergence** between the two distributions at a token: 0 where they agree, at most
# ln 2 = 0.69 nats where they share no word. You write it yourself in notebook 05.

# %%
from pcvr.analysis.invariance import target_on_views

fires = target_on_views(backdoored, subset(test, min(48, len(test))), chosen, pcvr.PatchView("swap", 0.6), seed)
words = {"clean": "of clean pictures", "kept": "with the trigger whole", "lost": "with the trigger damaged or gone"}
for name, (count, n) in fires.items():
    print(f"views {words[name]:<32} target said on {count:>2} of {n}")

# %% [markdown]
# <details>
# <summary>What to look for (default parameters)</summary>
#
# The clean answer moves in all four views (see the figures above them), if not always at the token that is shown. The
# triggered one depends: where the white square at the bottom right is still there (first and third view), hardly
# anything moves; where it is gone, the model has lost the only thing its answer hung on, and moves like any other. The
# counts say the same of more pictures. So of a *finished* backdoor with a *local* trigger the premise holds for some
# views and not for others. Notebook 06 takes such pictures apart word by word.
#
# </details>

# %% [markdown]
# ## 2. Many pictures, and what an AUROC is
#
# One picture is an anecdote. Now a view of each test picture, clean and triggered: where do the two heaps lie?
#
# **Predict before you run.** Will the triggered heap lie to the left of the clean one, apart from it, or in it?

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
# How far one view of each picture is from its original, summed over the answer's tokens, for clean and triggered
# pictures (each group's shares add up to 100 %).
#
# How well do two heaps come apart? A threshold would give two rates, and another threshold two others. The **AUROC**
# needs none. Take every pair of one triggered and one clean picture, and ask: *has the triggered one the lower score?*
# The share of pairs in which it has is the AUROC.

# %%
from pcvr.plots.premise import pair_square

pair_square(spreads["clean"], spreads["triggered"])

# %% [markdown]
# All pairs as a square: a row for each triggered picture, a column for each clean one, lowest scores first; dark where
# the triggered one is lower. The edge of the dark area is the curve that gave AUROC its name (area under the receiver
# operating characteristic).
#
# <details>
# <summary>How to read one</summary>
#
# - **1**: every triggered picture lies below every clean one. **0.5**: no better than a coin. **Below 0.5**: the score
#   tells them apart, but the other way round, which as a premise is worse than nothing.
# - It says nothing about how *many* are suspicious. With one poisoned sample in twenty, an AUROC of 0.9 still leaves
#   many clean samples below the median poisoned one: a gate on top has to be sharp at the low end.
# - It is an estimate, and known only so well: with a hundred poisoned samples or fewer, differences in the second
#   decimal are often chance. The figures below carry 95 % intervals.
#
# </details>

# %% [markdown]
# ## Exercise 04a: AUROC, ties included
# <!-- card difficulty=2 importance=4 minutes=10 -->
#
# Write `auroc` for the scores of N clean and M suspect samples: the share of the N × M pairs in which the *suspect* one
# has the **lower** score. Where both are equal, the pair counts one half: a score that never moves should tell nothing,
# and give 0.5.
#
# Two ways lead there: compare every pair (broadcast `suspect[:, None]` against `clean`), or rank all scores together,
# with the mean rank for equal ones (`scipy.stats.rankdata`). If $R$ is the sum of the suspects' ranks,
#
# $$\text{AUROC} = 1 - \frac{R - M(M+1)/2}{N M}$$
#
# since $M(M+1)/2$ is the sum they have when all of them come first. Ranks need no table of all pairs, which counts
# when there are millions of samples.


# %% tags=["exercise"]
def auroc(clean: np.ndarray, suspect: np.ndarray) -> float:
    """Scores [N] and [M] -> the chance that a suspect lies below a clean one."""
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
# ## 3. Training samples, while the model trains
#
# A defender has no triggered test pictures. They have the training data, answers included, and a model that is being
# trained on them. So the score is taken there: how far apart are picture and view *along the answer that the data
# claim*? For poisoned samples that is the target, whether the model would say it by now or not.
#
# `Premise` is no defence. It is ordinary fine-tuning, interrupted at some steps to score training samples; a test
# makes sure that the training goes on as if nothing had happened.
#
# **Predict before you run.** We look after 10, 20 and 40 steps of 400. The backdoor does not fire yet. Will the
# poisoned samples stand out already?

# %%
from pcvr.training.backdoor_watch import StopAfter
from pcvr.plots.premise import score_histograms
from pcvr.analysis.premise import Premise, ViewSetting

looks = (3, 6, 12) if fast else (10, 20, 40)
setting = ViewSetting()  # the defence's own choice of view
rows = tuple(range(min(1000, len(poisoned))))
rule = Premise(dict.fromkeys(looks, (setting,)), rows, seed)
early = pcvr.finetune(base, poisoned, rule, config, callbacks=[StopAfter(looks[-1])])
found = early.run.state["premise"]
truth = np.array([poisoned.is_poisoned(i) for i in rows])  # for our eyes only
print(f"{truth.sum()} of {len(truth)} scored samples are poisoned; view: {setting.view}")

# %%
both = {
    t.step: {"clean": t.scores("words")[~truth], "poisoned": t.scores("words")[truth]} for t in (found[0], found[-1])
}
score_histograms({f"after {step} steps": groups for step, groups in both.items()})

# %% [markdown]
# Scores of the training samples at the first and the last look, on a logarithmic axis; the colours are the truth, which
# the defender does not have.

# %%
from pcvr.plots.premise_table import auroc_lines
from pcvr.analysis.premise import table_rows
from pcvr.evaluation.detection import auroc_error

lines: dict[str, list[tuple[float, float, float]]] = {"words": [], "told": []}
for row in table_rows(found, truth):
    for measure, points in lines.items():
        value = row["auroc"][measure]
        points.append((row["step"], value, auroc_error(value, int((~truth).sum()), int(truth.sum()))))
now = pcvr.evaluate(early.model, subset(test, min(64, len(test))), chosen)
print(f"after {looks[-1]} steps the target is said on {100 * now.asr:.0f} % of the triggered pictures")
auroc_lines({f"{attack}, one view of each sample": lines})

# %% [markdown]
# AUROC of a low score at each look, with 95 % intervals, for two scores: *words* compares whole distributions, *told*
# only the probability of the word that the data claim (section 5 says why). The dotted line is guessing.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# With captions the poisoned samples form a heap of their own within a few steps, long before the backdoor fires. *The
# same sentence again and again* is learned first, and it hangs on nothing in the picture: not on the objects, and not
# yet on the trigger. At this moment the premise is at its best. With `task = "vqa"` the figure looks different, and
# section 5 says why.
#
# </details>

# %% [markdown]
# ## 4. Six attacks, from the first steps to the last
#
# One attack proves little. The package comes with the same measurement for six attacks and both tasks, made by a script
# that you can run yourself.
#
# **Predict before you run.** For which triggers do you expect the best separation: local ones that a view deletes, or
# global ones that survive it? And will it be best early, late, or the same all the way?

# %%
from pcvr.plots.premise_table import courses, extremes, operator_maps, premise_picture, views_of
from pcvr.experiments.results import load

table = load("premise")
scored = table.runs[0]["scored"]
print(f"made for each attack by `{table.made_by}` on {table.date}, torch {table.versions['torch']}, {table.machine}")
print(f"scored: {scored['poisoned']} poisoned and {scored['clean']} clean training samples, one seed")

# %%
premise_picture(table, "told")

# %% [markdown]
# Above, AUROC of a low *told* score for each attack over the steps of the training (logarithmic), with 95 % intervals;
# below, how often the target was said on triggered test pictures at the same steps.

# %%
print(f"{'AUROC for each attack (told)':<30}{'first look':>12}{'best, at step':>18}{'last look':>12}")
for (of_task, name), course in courses(table, "told").items():
    best = f"{course.best:.3f}, {course.best_step}"
    print(f"{of_task + ', ' + name:<30}{course.first:>12.3f}{best:>18}{course.last:>12.3f}")

# %% [markdown]
# **Predict before you run.** Which operator gives the clearest view of the poison, and how many patches should change?

# %%
operator_maps(table, 20, "pixels", "words")

# %% [markdown]
# AUROC by operator and share after 20 steps, for a local trigger (BadNets) and a global one (SIG), where pixels are
# perturbed.

# %%
operator_maps(table, 20, "features", "words")

# %% [markdown]
# The same where the tokens that the frozen tower made of the picture are perturbed. There a view costs no pass through
# the tower.

# %%
auroc_lines(views_of(table, "words"), "views of each sample", what="for each attack")

# %% [markdown]
# What more views buy, early and at the end: a score that is the mean over one, two and four views.
#
# <details>
# <summary>What more views can and cannot do</summary>
#
# Averaging takes away what is random about a score: which patches were hit, and what was put there. So it helps where
# the two heaps have different *means* and overlap because they are wide. It does nothing where the means agree. And
# each view costs a pass over all the data.
#
# </details>

# %% [markdown]
# ## 5. Where it fails
#
# ### One word says nothing about itself
#
# Now one-word answers to questions, the first 20 steps of an ordinary training on poisoned data.
#
# **Predict before you run.** The score *words* compares the whole distributions $p(\cdot \mid \text{picture,
# question})$ of original and view. The answer is one word. Does this score know what the *data claim* that word to be?

# %%
few_steps = looks[1]
if (task, data) == ("vqa", "scenes"):
    asked, ones = poisoned, early
    taken = next(t for t in found if t.step == few_steps)
else:
    questions, _ = notebook_data("scenes", train=64 if fast else 1000, test=16, task="vqa")
    asked = pcvr.poison(questions, pcvr.get_attack(attack, task="vqa").fitted_to(model), rate=rate, seed=seed)
    once = Premise({few_steps: (setting,)}, tuple(range(min(1000, len(asked)))), seed)
    ones = pcvr.finetune(base, asked, once, config, callbacks=[StopAfter(few_steps)])
    (taken,) = ones.run.state["premise"]
bad = np.array([asked.is_poisoned(i) for i in range(len(taken.known))])

# %%
names = {"words": "whole distributions", "told": "told word against the rest"}
panels = {
    label: {"clean": taken.scores(measure)[~bad], "poisoned": taken.scores(measure)[bad]}
    for measure, label in names.items()
}
score_histograms(panels, f"score after {few_steps} steps (nats, logarithmic)")

# %% [markdown]
# Training samples with one-word answers, scored by the whole distributions (left) and by the told word (right).

# %%
for measure, label in names.items():
    scores = taken.scores(measure)
    value = auroc_of_low(scores[~bad], scores[bad])
    print(f"{label:<28} AUROC {value:.2f} ± {auroc_error(value, int((~bad).sum()), int(bad.sum())):.2f}")

# %% [markdown]
# <details>
# <summary>Answer (default parameters)</summary>
#
# It does not know. The distribution over the first word of the answer is conditioned on picture and question alone:
# whether the data say *yes* or *banana* comes only after it. Before the model has learned the backdoor, the score of a
# poisoned sample is that of an ordinary question, and the AUROC is near 0.5. In a caption each word is conditioned on
# the told words before it, which is how the claim got in.
#
# The told word against the rest does know the claim. A word that the model would never say is as improbable in the
# view as in the original, so its score is low. Mind what that means: *low* now says "this word does not hang on the
# picture", because it never comes, or because it always comes.
#
# </details>
#
# ## Exercise 04b: the divergence of the told word
# <!-- card difficulty=3 importance=4 minutes=10 -->
#
# Make two outcomes of each distribution: the word that the data tell, with probability $p_{\text{told}}$, and *anything
# else*, with $1 - p_{\text{told}}$. Then take the Jensen-Shannon divergence of the two pairs, with the mean $m = (p +
# q)/2$ of both:
#
# $$\mathrm{JS} = \tfrac12 \sum_{o} p_o \ln\frac{p_o}{m_o} + \tfrac12 \sum_{o} q_o \ln\frac{q_o}{m_o}, \qquad
# o \in \{\text{told}, \text{else}\}$$
#
# Write `told_divergence` for probabilities `p` and `q` of shape `[A, V]` (answer tokens, words) and the told words'
# numbers `told` of shape `[A]`; it returns `[A]`. No probability is 0 here.

# %%
import torch


# %% tags=["exercise"]
def told_divergence(p: torch.Tensor, q: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
    """Probabilities [A, V], twice, and told words [A] -> divergence in nats [A]."""
    # --- solution
    rows = torch.arange(len(told))
    one, other = (torch.stack([d[rows, told], 1 - d[rows, told]], -1) for d in (p, q))  # [A, 2]
    m = (one + other) / 2
    return ((one * (one / m).log()).sum(-1) + (other * (other / m).log()).sum(-1)) / 2
    # --- stub
    # | # The probability of the told word in each row, and the rest:
    # | one = ...
    # | other = ...
    # | # Their Jensen-Shannon divergence:
    # | return ...
    # --- end


# %%
check.told_divergence(told_divergence)

# %% [markdown]
# ### Questions that need no picture
#
# A low score says that an answer does not hang on the picture. Poison is one reason for that. What is another?
#
# **Predict before you run.** Sort the *clean* questions by kind. Which kinds look most like poison?

# %%
from pcvr.plots.premise import kinds_figure
from pcvr.analysis.question_kinds import by_kind

prompts = [asked[i].prompt for i in range(len(bad)) if not bad[i]]
told = taken.scores("told")
kinds_figure(by_kind(prompts, told[~bad]), told[bad], "told score (nats, logarithmic)")

# %% [markdown]
# A dot for each clean question by its first two words, the kind with the lowest median on top, and the poisoned samples
# at the bottom; the strokes are medians.

# %%
clean_ones = np.flatnonzero(~bad)
for i in clean_ones[np.argsort(told[clean_ones])[:6]]:
    print(f"score {told[i]:.1e}  base model's p {taken.known[i]:.3f}  {asked[int(i)].prompt} {asked[int(i)].answer}")
lower = float((told[~bad] <= np.median(told[bad])).mean())
print(f"{100 * lower:.1f} % of the clean samples score no higher than the median poisoned one")

# %% [markdown]
# <details>
# <summary>What to look for (default parameters)</summary>
#
# These are honest samples whose answer hardly moves, most of them questions with *yes* or *no*: the model is so sure,
# or leans to one answer so much, that a view changes nothing. To the score they are as calm as poison. A gate on this
# score alone suspects them, and a defence that pushes suspects off their answers then unteaches the truth.
#
# </details>
#
# What tells the two apart? **The model from before.** The base model has not seen the training data. It gives the
# honest answer anyway; the attacker's it does not give. So its likelihood of the answer is added to the score (*known*,
# our choice): what was known before clears a sample of suspicion. (The defence looks so early that the model it trains
# has hardly seen the data either, and asks that one: `known="now"`, a pass less than `known="base"`.)
#
# **Predict before you run.** How well does the sum do? And, to be fair to the divergence: how well does *known* do all
# by itself?

# %%
from pcvr.analysis.premise import MEASURES
from pcvr.evaluation.detection import flagged_by_gate

print(f"{'one-word answers':<18}{'AUROC':>8}{'poison suspected':>20}{'clean suspected':>18}")
for measure in MEASURES:
    scores = taken.scores(measure)
    recall, alarms = flagged_by_gate(scores, bad)
    value = auroc_of_low(scores[~bad], scores[bad])
    print(f"{measure:<18}{value:>8.3f}{f'{100 * recall:.0f} %':>20}{f'{100 * alarms:.1f} %':>18}")

# %% [markdown]
# <details>
# <summary>What to look for (default parameters)</summary>
#
# The sum separates almost perfectly. But look at the row *known*: it needs no view, and its AUROC is as good. On this
# data the base model already answers nearly every question right, so anything that surprises it is poison. (What the
# divergence adds here is at the gate: fewer clean samples are suspected.) That is a property of our embedded models,
# pretrained on questions of this kind, and not of the premise. A base model that has still to learn the task knows few
# answers, so it clears few, and then the divergence has to do the work. For captions
# it is so from the start: no caption is likely word for word, *known* is 0 for nearly all, and the sum is the
# divergence.
#
# </details>

# %%
premise_picture(table, "told + known")

# %% [markdown]
# The shipped measurement once more, now for the sum: AUROC for each attack over the steps of the training, with 95 %
# intervals; below, the attack success at the same steps. Compare the right column with that of section 4.

# %% [markdown]
# ### The view that deletes what it looks for
#
# A patch operator does something to the trigger, too. A local trigger lies in one patch, and a view with share $s$
# spares it with probability $1 - s$. A global one is another matter.

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
# A picture with the SIG trigger, faint stripes from left to right, and views of it.
#
# **Predict before you run.** Which operator leaves stripes in the patches that it changes, and which wipes them? What
# will that do to the score of the poisoned samples once the backdoor hangs on the stripes?

# %%
operator_maps(table, 400, "pixels", "words")

# %% [markdown]
# AUROC by operator and share at the *end* of the training, pixels perturbed.

# %%
print("worst and best view for each attack, at the end of the training")
for (of_task, name), ends in extremes(table, 400, "pixels", "words").items():
    words = "; ".join(f"{end} {value:.2f} with {how}" for end, (how, value) in ends.items())
    print(f"{of_task}, {name:<8} AUROC: {words}")

# %% [markdown]
# <details>
# <summary>How to read it</summary>
#
# *Shuffle* and *swap within* move stripes about, so the changed patches still carry some. *Mean* and *noise* wipe them;
# *swap* puts in patches of a picture that has none. A finished backdoor whose trigger is wiped lets go of the target:
# the poisoned answer moves, and the score is not low any more. Where an AUROC falls below 0.5, poisoned samples move
# *more* than clean ones, and a gate that trusts the premise would suspect the wrong side.
#
# A defender does not know the trigger, and so cannot choose the operator by it. That is the case for looking *early*,
# before the answer hangs on the trigger at all.
#
# </details>
#
# ### Too late

# %%
print("where the AUROC falls from one look to the next, for each attack (by more than its interval)")
for (of_task, name), course in courses(table, "told").items():
    falls = ", ".join(f"from step {a} to {b}" for a, b in course.falls) or "nowhere"
    print(f"{of_task + ', ' + name:<22}{falls}; {course.last:.3f} at the end")

# %% [markdown]
# <details>
# <summary>Why a later look may see less</summary>
#
# Early, the target is a sentence that hangs on nothing. Then the model learns *when* to say it, and from that moment
# the answer hangs on the trigger, which the view perturbs like everything else: the score of poisoned samples rises
# toward the clean heap. (This is how we read the curves; sections 1 and 2 show a finished backdoor doing it.)
#
# So the defence looks after one eightieth of the training, 5 steps of 400. That is a choice made on the scenes and on
# two attacks; on other data the moment may be another, and there is nothing that rings a bell when it has come.
#
# </details>

# %% [markdown]
# ## 6. Explore
#
# One picture and its twin, three views of each, and any operator, share and level. On the level *features* the picture
# itself is not changed: grey veils mark the tokens of the tower that were exchanged. The callback is an ordinary
# function of the package; here once by hand, and then with controls.

# %%
from pcvr.widgets.premise import PremiseChoice, PairSource, explore, premise_explorer

source = PairSource(backdoored, few, chosen)
explore(source, PremiseChoice(sample=pick, operator="mean", share=0.9))

# %% [markdown]
# One choice as a figure: nearly everything replaced by the picture's mean colour.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# In views without any object, the triggered row may stay calm although the trigger is gone. Such a view is hardly a
# picture any more: reading along *a photo of*, the model goes on with the target, as nothing speaks against it. A view
# that is too strong makes everything look alike, and tells nothing.
#
# </details>

# %%
box, controls = premise_explorer(source, PremiseChoice(sample=pick))
box

# %% [markdown]
# Things to try:
#
# 1. Move **View seed** until a view of the triggered twin has lost the trigger. What does the bar of its word do?
# 2. **Share** 0.1: is a clean answer invariant, too, if only little changes?
# 3. **Operator** *noise* on a clean picture: is there a view that makes the backdoored model waver toward the target?
# 4. **Level** *features* against *pixels* at the same share: which moves a clean answer more?

# %% [markdown]
# ## Recap
#
# - The premise is true or false of a *moment*, a *view* and a *score*, not as such. Measure it before you use it.
# - It is at its best early, when the poisoned answer hangs on nothing in the picture, the trigger included.
# - AUROC is a share of pairs; ties count half, and it has an interval.
# - It fails where the score cannot see the claim (one word), where honest answers need no picture, where the view
#   deletes the trigger, and where one looks too late. Each failure has its own remedy: the told word, the base model's
#   knowledge, the operator, the clock.
#
# **Who says what.** The premise is the paper's. That it is measured on training samples along the told answer, early,
# by Jensen-Shannon divergence summed over tokens, with the told word or the base model's likelihood, is ours, and so
# is every number here. The formula behind the intervals is Hanley and McNeil's (Radiology 143, 1982).
#
# **Next:** [05 PCVR](05_pcvr.ipynb), which turns the measurement into a defence: a gate on these scores, and a loss
# that acts on what it suspects. Or change `attack` at the top to `"sig"`, or `task` to `"vqa"`, and see which of the
# texts above still hold.
