# %% [markdown]
# # PCVR: the defence, term by term
#
# You build the loss of patch cross-view regularisation by hand on one batch, two of its terms as exercises, and then
# train with it on the poisoned data of notebook 03.
#
# **After this notebook you can**
# - state the premise of the defence, and check it on training data before the backdoor even fires;
# - say what each term of the loss is for, what it looks at, and where it stops pushing;
# - write the Jensen-Shannon divergence and the capped pull-apart loss yourself;
# - train a defended model, and tell what comes from the paper and what is our choice.
#
# **Time and hardware:** 40 minutes with both exercises; a bit over a minute to run on two CPU cores, half of
# it the defended training. No GPU needed.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa", questions with one-word answers, on which the defence does not work yet
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"
rate = 0.05  # share of training samples to poison
seed = 0  # of the poison draw, the training and the views
fast = False  # True: 12 steps on 64 samples, for tests; too few for the defence to show
retrain = False  # True: also train the controls here (none, augment only, no gate) instead of reading shipped results

# %%
import numpy as np
import torch

import pcvr
from pcvr.tasks import get_task
from pcvr.teaching import check
from pcvr.teaching.lesson import lesson_data

config = pcvr.TrainConfig(steps=12 if fast else 400, seed=seed)
base = pcvr.load(model)
badnets = pcvr.get_attack(attack, task=task)
train, test = lesson_data(data, train=64 if fast else 2000, test=16 if fast else 256, task=task)
poisoned = pcvr.poison(train, badnets, rate=rate, seed=seed)
truth = np.array([poisoned.is_poisoned(i) for i in range(len(poisoned))])  # for our eyes only: no defence may see it
print(f"{truth.sum()} of {len(truth)} training samples are poisoned.")

# %% [markdown]
# ## The idea in four sentences
#
# A good caption depends on the whole picture: perturb patches, and the model becomes less sure of its words. A
# backdoored answer depends on the trigger, or, once its first words are said, on nothing in the picture at all:
# perturb patches, and it hardly changes. So **abnormal invariance between two views gives a poisoned sample away**.
# The defence measures it during training, and pushes the model off the answers that show it.
#
# One-word answers (`task = "vqa"`) look invariant without being poisoned: with them everything below runs, but the
# defence does **not** keep the backdoor out yet; notebook 08 is about that.
#
# | part | the paper states | our choice |
# | --- | --- | --- |
# | second view | patch-level augmentation of each picture | which operator, which share of the patches |
# | pull apart | output distributions of both views are pulled apart | Jensen-Shannon divergence, a cap |
# | gate | benign answers are to be preserved | a mixture model decides which samples count; when it looks; fading |
# | entropy | an uncertainty-aware entropy constraint | its form: a ceiling |
# | features | the augmentation acts at the feature level | a capped cosine of last hidden states |
#
# We could read the paper's abstract and summaries of it, not its body; every formula below is marked accordingly.

# %%
rule = pcvr.PCVR()
print(rule.view)

# %% [markdown]
# ## 1. Two views of a picture
#
# A **patch view** perturbs a share of the picture's patches. Four operators are at hand: swap patches with another
# picture, fill them with the mean colour, with noise, or shuffle them.
#
# **Predict before you run.** This picture carries the trigger, the white square at the bottom right. In which views
# is it still there? A trigger that lies inside one patch (of 36, on scenes) survives a view with which probability?

# %%
from pcvr.plots.views import view_sheet
from pcvr.story import view_pictures
from pcvr.views import OPERATORS

shown = [badnets.triggered(test[i]) for i in range(4)]
shares = tuple(sorted({0.3, rule.view.share, 0.9}))
views = {
    operator: {s: view_pictures(base, shown, pcvr.PatchView(operator, s), seed)[1][0] for s in shares}
    for operator in OPERATORS
}
view_sheet(shown[0].image, views, chosen=(rule.view.operator, rule.view.share))

# %% [markdown]
# One triggered picture and views of it: operators from left to right, shares from top to bottom; the frame marks the
# defence's default.
#
# <details>
# <summary>Answer</summary>
#
# The trigger sits inside one patch, so a view with share $s$ keeps it with probability $1 - s$. A strong view
# therefore often *deletes* a local trigger, while a global one (stripes, a blended picture) survives every view. Keep
# this in mind: in section 2 the poisoned samples will look invariant all the same, although the trigger is gone from
# most of their views. Notebook 06 takes that apart.
#
# </details>

# %% [markdown]
# ## 2. The premise, checked early
#
# Let the most ordinary training run on the poisoned data, and stop part way: at the step at which the defence looks
# for the first time. Then score every training sample: how far are the two views' answer distributions apart, summed
# over the answer's tokens? *(That it is a sum over the whole answer is our choice; a mean would let the one word that
# hangs on the trigger drown all the others, which hang on nothing.)*
#
# **Predict before you run.** The training has just begun. Will the backdoor fire already? And will the poisoned
# samples already differ from the clean ones in their score?

# %%
from pcvr.callbacks import StopAfter
from pcvr.data.subset import Subset, subset
from pcvr.spread import auroc_of_low, training_scores

look = max(1, round(rule.score_at[0] * config.steps))
early = pcvr.finetune(base, poisoned, config=config, callbacks=[StopAfter(look)])  # a few seconds
scores, entropies = training_scores(early, rule.view, rule.score_views)  # about 5 seconds
now = pcvr.evaluate(early.model, subset(test, min(64, len(test))), badnets)
print(f"after {look} of {config.steps} steps: ASR {100 * now.asr:.0f} %")
auroc = auroc_of_low(scores[~truth], scores[truth])
print(f"a low score tells poisoned from clean samples with AUROC {auroc:.3f}")

# %%
from pcvr.plots.spreads import spread_histograms

groups = {"clean": scores[~truth], "poisoned": scores[truth]}
title = f"training samples after {look} steps"
spread_histograms({title: groups}, xlabel="score of a sample (nats, logarithmic)", log=True)

# %% [markdown]
# How far the two views' distributions are apart along the whole answer, for clean and for poisoned training samples
# (each group's shares add up to 100 %); the axis is logarithmic, and the colours are the truth, which the defender
# does not have.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# The poisoned samples form a heap of their own, far to the left, while the backdoor is still weak or silent. This is
# the premise of the paper, and here it holds early: *the same sentence again and again* is the first thing that a
# model learns, long before it learns which pixels call for it.
#
# AUROC is the probability that a random poisoned sample lies below a random clean one: 0.5 is guessing, 1 is perfect.
#
# With `task = "vqa"` do not expect two heaps: a one-word answer may change little with the patches without being
# poisoned, so a low score proves nothing.
#
# The distributions are conditioned on the **training answers** (teacher forcing), the attacker's among them: that is
# what a defender has.
#
# </details>

# %% [markdown]
# ## 3. One batch to build on
#
# From here on everything happens on one small batch: 16 clean samples and up to 8 poisoned ones, far more than chance
# would give, so that there is something to see. The model is the one you have just stopped.

# %%
from pcvr.models.encode import EncodedData
from pcvr.plots.gallery import contact_sheet
from pcvr.run import Run

picks = [*np.flatnonzero(~truth)[:16].tolist(), *poisoned.poisoned[:8]]
few, bad = Subset(poisoned, picks), truth[picks]
contact_sheet([few[i] for i in range(len(few))], columns=8, marked=np.flatnonzero(bad).tolist(), captions=False)

# %% [markdown]
# The batch; frames mark the poisoned samples, for us only.

# %%
run = Run(early.model, EncodedData(early.model, few), steps=config.steps, seed=seed)
batch = run.data.batch(range(len(few)))
with torch.no_grad():
    said = run.answers(batch, hidden=True)  # what the model says to the originals
    seen = run.answers(run.view(batch, rule.view), hidden=True)  # and to one view of each
print("logits", list(said.logits.shape), "one row for each answer token of the batch, one column for each word")
print("owner ", list(said.owner.shape), "whose token it is:", said.owner[:20].tolist(), "...")

# %% [markdown]
# Answers have different lengths, so the tokens of the whole batch are packed below each other, without padding: `A`
# tokens, `V` words. `sample_mean` turns one value for each token into one for each sample.

# %% [markdown]
# ## Exercise 05a: how far apart are two distributions?
# <!-- card difficulty=2 importance=5 minutes=10 -->
#
# The **Jensen-Shannon divergence** compares two distributions with their mean $m = (p + q)/2$:
#
# $$\mathrm{JS}(p, q) = \tfrac12 \sum_w p_w \ln\frac{p_w}{m_w} + \tfrac12 \sum_w q_w \ln\frac{q_w}{m_w}$$
#
# It is 0 where both agree and at most $\ln 2 \approx 0.693$ (nats), where they share no word. *The paper says "output
# difference"; this divergence is our choice: it is symmetric, and bounded, so that pulling apart has an end.*
#
# Write `js_divergence` for **log**-probabilities of shape `[B, T, V]`; it returns `[B, T]`. Stay with logarithms as
# long as you can: `torch.logaddexp(p, q)` is $\ln(e^p + e^q)$ without overflow.


# %% tags=["exercise"]
def js_divergence(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """Log-probabilities [B, T, V], twice -> divergence in nats [B, T]."""
    # --- solution
    m = torch.logaddexp(p, q) - np.log(2)  # the logarithm of the mean
    forth = (p.exp() * (p - m)).sum(-1)
    back = (q.exp() * (q - m)).sum(-1)
    return (forth + back) / 2
    # --- stub
    # | # The logarithm of the mean of both distributions:
    # | m = ...
    # | # Two sums over the words (the last axis), then their mean:
    # | return ...
    # --- end


# %%
check.js_divergence(js_divergence)

# %% [markdown]
# Now the whole batch, with the package's own function (it takes logits and does the log-softmax itself):

# %%
from pcvr.defenses import terms
from pcvr.plots.batch import batch_values

apart = said.sample_mean(terms.js_divergence(said.logits, seen.logits))
batch_values(apart, bad, "divergence (nats)", "How far apart are the two views?", lines={"cap": rule.cap})

# %% [markdown]
# One bar for each sample, its mean divergence over the answer's tokens for one single view; the line is the cap,
# which comes into play in a moment. (The score of section 2 is the sum over the tokens; the term below works on the
# mean, so that long answers are not pushed harder.)

# %% [markdown]
# ## 4. The gate: whom to suspect
#
# Pulling the views of *every* sample apart would teach the model to jump at any patch, and leave the backdoor alone:
# the clean 95 % outvote it. So a **gate** decides. It knows no labels; it sees the scores of all samples and asks
# whether they form two heaps. *The gate is ours: the paper says that benign answers are to be preserved, not how one
# tells them.*
#
# Technically: a mixture of two normal distributions on the *logarithm* of the scores. The posterior probability of
# the low heap is the **suspicion** of a sample, 0 to 1. If the heaps are not clearly apart, or the low one is no
# minority, nobody is suspicious.
#
# **Predict before you run.** Where will the suspicion change from 1 to 0? How many clean samples will be wrongly
# suspected?

# %%
from pcvr.defenses.gate import fit_gate
from pcvr.plots.spreads import gate_fit

gate = fit_gate(scores)
gate_fit(scores, gate, truth)

# %% [markdown]
# The scores of all training samples with the fitted normals (lines) and the suspicion (dashed, right axis); the
# colours of the bars are the truth, which the gate never had.

# %%
flagged = gate.suspicion > 0.5
print(
    f"suspected: {flagged.sum()}; poisoned among them: {(flagged & truth).sum()} of {truth.sum()}; "
    f"clean ones wrongly suspected: {(flagged & ~truth).sum()} of {(~truth).sum()}"
)
if (gate.suspicion[picks] > 0.05).any():
    suspicion = torch.tensor(gate.suspicion[picks], dtype=torch.float32)
else:
    why = "The gate suspects none of our batch" if gate.found else "No separate low heap (too little training?)"
    print(f"{why}: below, the truth stands in for the suspicion.")
    suspicion = torch.tensor(bad, dtype=torch.float32)

# %%
batch_values(suspicion, bad, "suspicion (0 to 1)", "The gate on our batch", top=1.05)

# %% [markdown]
# The suspicion of each sample of the batch: what follows multiplies with it, or with what it leaves to 1. Where the
# gate picks other samples than the poisoned ones, the terms below push the wrong ones, and the defence fails.

# %% [markdown]
# ## 5. First term: learn from those you trust
#
# Plain fine-tuning takes the mean cross-entropy of all tokens. Here each token is weighed with the **trust** in its
# sample, $1 - g$:
#
# $$L_{\text{answer}} = \frac{\sum_a (1 - g_a)\,\ell_a}{\sum_a (1 - g_a)}$$
#
# *(The loss is ordinary fine-tuning; the weights are ours.)* **Predict:** will the loss of this batch rise or fall
# when the poisoned samples are left out?

# %%
from torch.nn.functional import cross_entropy

losses = cross_entropy(said.logits, said.targets, reduction="none")  # [A]
trust = 1 - suspicion[said.owner]
answer_term = (trust * losses).sum() / trust.sum()
print(f"mean over all tokens {losses.mean():.3f} nats, weighed with trust {answer_term:.3f} nats")

# %%
batch_values(said.sample_mean(losses), bad, "cross-entropy (nats per token)", "What each sample has still to teach")

# %% [markdown]
# The cross-entropy of each sample; a poisoned sample with a low bar would be one that the model finds easier than an
# honest answer.
#
# <details>
# <summary>Answer</summary>
#
# With the default parameters it hardly moves: at this early step the poisoned samples are neither easier nor harder
# than the others. So the loss would not have found them. The divergence did.
#
# Leaving suspects out is a defence on its own, if the gate finds *all* of them before they were learned. It does not
# *unlearn*, though. For that we need the next term.
#
# </details>

# %% [markdown]
# ## Exercise 05b: pull the views apart, up to a cap
# <!-- card difficulty=3 importance=5 minutes=15 -->
#
# For suspicious samples the invariance itself is to be broken. The more the two views agree, the larger the loss;
# once they are a **cap** $c$ apart, it is enough:
#
# $$L_{\text{apart}} = \frac{\sum_i g_i \max(0,\; c - d_i)}{\max(\sum_i g_i,\; 10^{-6})}$$
#
# *That distributions are pulled apart is the paper's; the cap and the gate are ours. Without a cap the term is never
# content, and drives the model to nonsense.*
#
# Write `capped_pull_apart` for divergences and gates of shape `[B]`. The gradient has to flow through `div`.


# %% tags=["exercise"]
def capped_pull_apart(div: torch.Tensor, gate: torch.Tensor, cap: float) -> torch.Tensor:
    """Divergences in nats [B], gates in 0 to 1 [B] -> a scalar."""
    # --- solution
    missing = torch.relu(cap - div)  # how far from being apart enough
    return (gate * missing).sum() / gate.sum().clamp_min(1e-6)
    # --- stub
    # | missing = ...  # how far each sample still is from the cap, never below 0
    # | # The mean of `missing`, weighed with the gate:
    # | return ...
    # --- end


# %%
check.capped_pull_apart(capped_pull_apart)

# %% [markdown]
# The second view costs a forward pass of its own, so it is made for suspicious samples only. The view itself is a
# fixed point: no gradient goes through it, the original has to move.

# %%
rows = (suspicion > 0.05).nonzero()[:, 0]
near = said.of(rows)  # the suspects' rows of what was said to the originals
run.generator.manual_seed(seed)  # so that the package draws the same view below
with torch.no_grad():
    far = run.answers(run.view(batch, rule.view, rows), hidden=True)
divergence = near.sample_mean(terms.js_divergence(near.logits, far.logits))
print(f"{len(rows)} suspects, {divergence.mean():.3f} nats apart on average")

# %% [markdown]
# One factor more, which is ours: **an answer that the model would not give needs no pushing.** The push on a sample is
# multiplied with the probability that the model gives its whole answer, word for word (as a number: no gradient goes
# through it). So it is strong on a backdoor that fires, fades as the backdoor is unlearned, and leaves honest captions
# that were suspected by mistake alone, since no caption is certain word for word (an answer of one word can be).
# *Without this factor* the model is pushed on when there is nothing left to unlearn: the backdoor is as dead, but
# triggered pictures are then described wrongly.
#
# **Predict before you run.** The training has only just begun. How probable is the target already on triggered
# pictures? And how probable is it in the model of notebook 03, whose backdoor is complete?

# %%
from pcvr.run import answers
from pcvr.teaching.lesson import shipped_fits, story_adapters

if shipped_fits(model, data, attack, rate, seed, task):
    learned, when = pcvr.load(model, adapter=story_adapters(model, task)["backdoored"]), "with the backdoor learned"
else:  # no finished copy comes with the package for these parameters
    learned, when = early.model, f"still at step {look}"
with torch.no_grad():
    late = answers(learned, batch)
print(f"mean probability of the suspects' answers at step {look}: {near.likelihood().mean():.1e}")
batch_values(late.likelihood(), bad, "probability", f"Is the training answer given, {when}?", top=1.05)

# %% [markdown]
# The probability that the model with the complete backdoor (where one is shipped: see the title) gives the training
# answer of each sample, word for word: the push is strong where these bars are tall. With the default parameters all
# of them are invisibly small at the early step of our batch, so there is nothing to unlearn yet.

# %%
push = suspicion[rows] * near.likelihood()
apart_term = terms.pull_apart(divergence, push, rule.cap, suspicion[rows])
much = late.of(rows).likelihood() * suspicion[rows]
print(
    f"the term is {apart_term:.1e} now; {when}, and with views as close as these, it would be "
    f"{terms.pull_apart(divergence, much, rule.cap, suspicion[rows]):.3f}"
)

# %% [markdown]
# ## 6. The entropy ceiling: stay as sure as before
#
# A model that is pulled apart can cheat: become vague about everything. The **entropy** of the answer distributions
# tells. *The paper has an entropy constraint that keeps normal answers from being over-suppressed; its form here, a
# ceiling at the value measured when the defence sets in, is our reading:*
#
# $$L_{\text{entropy}} = \frac{\sum_i (1 - g_i)\,\max(0,\; h_i - h_{\text{ref}} - m)}{\sum_i (1 - g_i)}$$
#
# *Why not a band, with a floor as well?* The defence sets in early, when every model is still vague; a floor would
# keep it from becoming surer, and learning to caption is becoming surer.

# %%
calm = float(entropies[gate.suspicion < 0.5].mean())  # the reference: mean entropy of the samples nobody suspects
spread = said.sample_mean(terms.entropy(said.logits))
entropy_term = terms.entropy_excess(spread, 1 - suspicion, calm, rule.entropy_margin)
ceiling = calm + rule.entropy_margin
batch_values(spread, bad, "entropy (nats per token)", "How sure is the model of its words?", lines={"ceiling": ceiling})

# %% [markdown]
# The mean entropy of each sample's answer tokens, and the ceiling below which the term leaves the model alone;
# suspicious samples do not count.

# %%
print(f"reference {calm:.3f} nats, ceiling {ceiling:.3f} nats; the term is {entropy_term:.3f}")

# %% [markdown]
# ## 7. The feature term
#
# The same idea one floor below the words: the last hidden states of the two views should not be nearly parallel on
# suspicious samples. *That the method acts on features is the paper's; the capped cosine is ours.*

# %%
alike = near.sample_mean(torch.relu(terms.feature_agreement(near.hidden, far.hidden) - rule.feature_cap))
feature_term = (push * alike).sum() / suspicion[rows].sum()
cosine = said.sample_mean(terms.feature_agreement(said.hidden, seen.hidden))
batch_values(cosine, bad, "cosine", "How alike are the hidden states of both views?", lines={"cap": rule.feature_cap})

# %% [markdown]
# The mean cosine between the two views' hidden states for each sample; only what stands above the line, on suspicious
# samples, is penalised.

# %%
from pcvr.plots.batch import term_shapes

term_shapes(rule.cap, calm, rule.entropy_margin, rule.feature_cap)

# %% [markdown]
# The three penalties as curves: on grey ground a penalty is zero and the model is left in peace. Each has such a
# resting place; that is what keeps the defence from eating the captions.

# %% [markdown]
# ## 8. Put together

# %%
from pcvr.plots.batch import parts

pieces = {
    "answers, weighed with trust": float(answer_term),
    f"{rule.apart_weight:g} × pull apart": rule.apart_weight * float(apart_term),
    f"{rule.entropy_weight:g} × entropy ceiling": rule.entropy_weight * float(entropy_term),
    f"{rule.feature_weight:g} × features": rule.feature_weight * float(feature_term),
}
parts(pieces)

# %% [markdown]
# What each weighted term contributes to the loss of this batch. With the default parameters those that push are
# asleep: the backdoor has not been learned, and if leaving the suspects out keeps it so, they will never wake.
#
# Is that all there is to it? Ask the package for the loss of the same batch, in the same state:

# %%
rule.begin(run)
run.state["gate"], run.state["entropy"] = suspicion, calm
run.state["scorings"] = [{"step": look}]  # the defence has looked at the data once
run.step = look + 1
run.generator.manual_seed(seed)
with torch.no_grad():
    package = float(rule.loss(run, batch))
print(f"by hand {sum(pieces.values()):.5f}, by pcvr.PCVR {package:.5f}")

# %% [markdown]
# The two agree up to rounding: you have built the whole loss.

# %% [markdown]
# ## 9. Train with it
#
# `defense="pcvr"` trains plainly at first, looks at all samples at the shares of the training given by `score_at`,
# and uses the loss above from then on. Once suspected, a sample stays so: what is no longer trained soon looks clean
# again.
#
# **Predict before you run.** What was the ASR without a defence (notebook 03)? What will it be now? And what will it
# cost in good answers and in seconds?

# %%
del early, run  # they hold all training pictures as tensors; the next training makes its own
result = pcvr.finetune(base, poisoned, defense=rule, config=config)  # about 50 seconds
print(f"{result.seconds:.0f} s")

# %%
from pcvr.plots.training import history_curves

looks = {f"look {k}": scoring["step"] for k, scoring in enumerate(result.run.state["scorings"], 1)}
history_curves({"PCVR": result.history}, marks=looks)

# %% [markdown]
# The loss of the defended training; the dotted lines mark the steps at which all samples were scored. A jump there is
# no accident: from the first look on, other terms are added.

# %%
from pcvr.study.experiment import gate_quality

for found in gate_quality(result.run.state["scorings"], poisoned.poisoned, len(poisoned)):
    print(found)

# %% [markdown]
# What each look found, compared with the truth: how many samples were flagged, how many of these are false alarms,
# the AUROC of a low score, and which share of the poison was caught (`recall`).

# %% [markdown]
# ## 10. Did it work?

# %%
from pcvr.plots.answers import answer_sheet

record = pcvr.evaluate(result.model, test, badnets)
said_when = get_task(task).success  # what counts as "the target said"
answer_sheet([test[i] for i in range(4)], badnets, {"PCVR": record.answers}, definition=said_when)

# %% [markdown]
# Pictures without and with the trigger, and what the defended model says; a target that still comes through would
# stand in bold orange.

# %%
record

# %% [markdown]
# Compare with notebook 03 at the same parameters: only the ASR that the defence takes away is its merit, and with
# `task = "vqa"` it takes little or nothing.
#
# One training is one training. The package ships a table of tiny-llava and captions, the main rows with three seeds,
# made by `benchmarks/spine.py`, where *plain SFT* and *augment only* stand beside PCVR: the same data, the same
# steps, the same test.
#
# **Predict before you run.** *Augment only* trains on the perturbed view and adds nothing else. Where will it stand,
# left and right?

# %%
from pcvr import results
from pcvr.plots.results import summary

try:
    figure = summary(results.load("spine"))
except pcvr.PcvrError as missing:
    figure = f"The table is not there yet ({missing}) Make it with: python benchmarks/spine.py"
figure

# %% [markdown]
# Left, how often the backdoor fires; right, how many captions are fully right on clean and on triggered pictures,
# whatever model and task are set above. A defence is good when its bar is short and *both* of its marks are far to
# the right.
#
# <details>
# <summary>How to read it</summary>
#
# *Augment only* is the decisive control: if patch views alone did the work, the regulariser would be decoration. Look
# at what it does to the bar, and at what it takes from the captions. A model that can no longer read pictures has no
# backdoor either.
#
# On triggered pictures there is a second question: does the *right* answer come back? A defence that only replaces
# the target by some other nonsense has not restored anything.
#
# </details>
#
# **Predict before you look again.** In the last two rows the gate looks only half-way, when the backdoor has formed.
# From then on suspects are left out in both; only one of the two also pulls them apart. In which is the backdoor
# gone at the end?
#
# <details>
# <summary>Answer: what pulling apart is for</summary>
#
# Leaving out does not *unlearn*: the rest of the data says nothing about white squares, so nothing contradicts what
# was learned. Pulling apart does contradict it. With the early look of the default neither is put to the test: the
# poison is found before it is learned, and the row without pulling apart does as well. An attack that is learned
# faster than it is found needs the term.
#
# </details>

# %% [markdown]
# ## 11. Every part has its switch

# %%
from dataclasses import fields

for option in fields(rule):
    print(f"{option.name:<15} {getattr(rule, option.name)!s:<48} {option.metadata['help']}")

# %% [markdown]
# | to see what this does | write |
# | --- | --- |
# | no pull-apart: suspects are left out, not pushed | `pcvr.PCVR(apart_weight=0)` |
# | no fading: suspects are pushed whatever they say | `pcvr.PCVR(fade=False, apart_weight=0.1)` |
# | no entropy ceiling | `pcvr.PCVR(entropy_weight=0)` |
# | no feature term | `pcvr.PCVR(feature_weight=0)` |
# | no gate: every sample is pulled apart | `pcvr.PCVR(gate="none", fade=False, apart_weight=0.1)` |
# | another view | `pcvr.PCVR(view=pcvr.PatchView("swap", 0.3))` |
# | look more often | `pcvr.PCVR(score_at=(0.1, 0.3, 0.5))` |
#
# **Predict before you run.** Without the gate, every sample is pulled apart up to the cap. Does the backdoor go? Set
# `retrain = True` at the top to train this and the two controls here, on your machine (three minutes).

# %%
from pcvr.plots.training import compare

runs = {"PCVR": record}
no_gate = pcvr.PCVR(gate="none", fade=False, apart_weight=0.1, feature_weight=0.01)
controls = {"no defence": "none", "augment only": "augment", "pull apart, no gate": no_gate}
for name, defense in controls.items() if retrain else ():
    runs[name] = pcvr.evaluate(pcvr.finetune(base, poisoned, defense, config).model, test, badnets)
compare(runs)

# %% [markdown]
# Your own trainings side by side: with `retrain = False` that is the defended one alone.

# %% [markdown]
# ## What this does not show
#
# - **One attack.** A local patch is the easiest case. A global trigger survives every view and is learned while it is
#   being scored; notebook 09 attacks the defence with its own weapons.
# - **One target.** The replaced caption is the same for every poisoned sample. Where the answer keeps the picture's
#   content, invariance means something else.
# - **One task.** With answers of a single word the premise is weak, and the defence as it stands fails: set
#   `task = "vqa"` and see (notebook 08).
# - **What each part adds.** Gate, pull-apart, entropy and features were shown, not separated: that takes an ablation
#   with several seeds (notebook 08).
# - **The paper's figures.** It reports about 98 % → 27-58 % ASR over six attacks on large models. Our numbers come
#   from another model, other data and our reading of the method: the two cannot be compared.
#
# ## Recap
#
# - A poisoned sample can be told by what its answer *does not* depend on: the picture.
# - The gate turns this from a nice plot into a defence; cap, ceiling and cosine cap give every push a place to stop.
# - A defence is judged by ASR **and** by answers to clean **and** to triggered pictures, against *augment only*.
#
# **Who says what.** The paper ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)): premise, patch view, pulling
# apart, entropy constraint, the feature level. Ours: operator and share of the view, the score, Jensen-Shannon, cap,
# gate, schedule, fading, ceiling, cosine cap, every number.
#
# **Next:** [06 Output distributions](06_output_distributions.ipynb) looks at single words, before and after the
# defence.
