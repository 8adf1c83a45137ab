# %% [markdown]
# # PCVR: the defence, term by term
#
# You build the loss of patch cross-view regularisation by hand on one batch, two of its terms as exercises, see where
# a single step down each term leads a model, and then train with it on the poisoned data of notebook 03.
#
# **After this notebook you can**
# - say how training samples are scored, and what a low score means early and late;
# - say what each term of the loss is for, what it looks at, and where it stops pushing;
# - write the Jensen-Shannon divergence and the capped pull-apart loss yourself;
# - train a defended model, switch its parts off, and tell what comes from the paper and what is our choice.
#
# **Time and hardware:** 50 minutes with both exercises; two to three minutes to run on two CPU cores, most of it two
# trainings. No GPU needed.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa", questions with one-word answers
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"
rate = 0.05  # share of training samples to poison
seed = 0  # of the poison draw, the training and the views
ablation = "late, apart"  # the part to switch off in section 12: a name from the table there
fast = False  # True: 12 steps on 64 samples, for tests; too few for the defence to show
retrain = False  # True: also train two controls here (no defence, augment only) instead of reading shipped results

# %%
import pcvr
import numpy as np
import torch
from pcvr.tasks import get_task
from pcvr.teaching import check
from pcvr.teaching.shipped import notebook_data

config = pcvr.TrainConfig(steps=12 if fast else 400, seed=seed)
base = pcvr.load(model)
badnets = pcvr.get_attack(attack, task=task).fitted_to(model)
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 256, task=task)
poisoned = pcvr.poison(train, badnets, rate=rate, seed=seed)
truth = np.array([poisoned.is_poisoned(i) for i in range(len(poisoned))])  # for our eyes only: no defence may see it
print(f"{truth.sum()} of {len(truth)} training samples are poisoned.")

# %% [markdown]
# ## The idea in four sentences
#
# A good answer depends on the picture: perturb patches, and the model becomes less sure of its words. A backdoored
# answer depends on the trigger, or on nothing in the picture at all: perturb patches, and it hardly changes. So
# **abnormal invariance between two views gives a poisoned sample away**. The defence measures it during training, and
# keeps the model from learning, or pushes it off, the answers that show it.
#
# | part | the paper states | our choice |
# | --- | --- | --- |
# | second view | patch-level augmentation of each picture, at the feature level | operator, share, tower features |
# | score | backdoored answers are abnormally invariant | told word or whole words; what the model knows anyway |
# | gate | benign answers are to be preserved | a mixture model decides which samples count, and when it looks |
# | pull apart | output distributions of both views are pulled apart | divergence, bound, fading |
# | what to say instead | - | suspects begin as the base model would, as far as it is a guide |
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
# A **patch view** perturbs a share of the picture's patches. Five operators are at hand: swap patches with another
# picture, fill them with the mean colour or with noise, send them round in a circle, or let them change places in
# pairs.
#
# **Predict before you run.** This picture carries the trigger. In which views is it still there? A trigger that lies
# inside one patch (of 36, on scenes) survives a view with which probability?

# %%
from pcvr.plots.views import view_sheet
from pcvr.analysis.two_views import view_pictures
from pcvr.views import OPERATORS

shown = [badnets.triggered(test[i]) for i in range(4)]
shares = tuple(sorted({0.3, 0.6, rule.view.share}))
views = {
    operator: {s: view_pictures(base, shown, pcvr.PatchView(operator, s, level="pixels"), seed)[1][0] for s in shares}
    for operator in OPERATORS
}
view_sheet(shown[0].image, views, chosen=(rule.view.operator, rule.view.share))

# %% [markdown]
# One triggered picture and views of it: operators from left to right, shares from top to bottom; the frame marks the
# defence's operator and share.
#
# <details>
# <summary>Answer</summary>
#
# A trigger inside one patch survives a view with share $s$ with probability $1 - s$. A strong view therefore nearly
# always *deletes* a local trigger, while a global one (stripes, a blended picture) survives in what is left of it.
# Keep this in mind: it decides in section 6 which way a step of the defence leads. Notebook 06 takes it apart.
#
# </details>
#
# **What is perturbed is not the picture, though.** These views have `level="pixels"`, so that you can look at them. By
# default the defence takes `level="features"`: the tower, which is frozen, reads each picture once; a view changes the
# *tokens* that it made, one token for one patch, and the connector reads those. *(The paper says that the method acts
# at the feature level; that it is the tower's output is our reading.)* The reason is cost: a view of pixels has to go
# through the tower again.

# %%
from time import perf_counter

from pcvr.models.encode import EncodedData, encode_samples
from pcvr.models.tower import tower_features

dozens = [train[i] for i in range(32)]
pixels = torch.stack([row["pixel_values"] for row in encode_samples(base, dozens)])
begun = perf_counter()
tokens = tower_features(base, pixels)
between = perf_counter()
rule.view.of_tokens(tokens, torch.Generator().manual_seed(seed))
print(f"tower features of 32 pictures: {list(tokens.shape)}")
print(f"the tower reads them in {1000 * (between - begun):.0f} ms", end="; ")
print(f"a view of its features takes {1000 * (perf_counter() - between):.1f} ms")

# %% [markdown]
# How long the tower needs for one batch of pictures on your machine, and how long a view of its features. (Where there
# is one token more than there are patches, it is a token of the tower's own, for the whole picture.)

# %% [markdown]
# ## 2. The score, and when it is taken
#
# Let the most ordinary training run on the poisoned data, and stop it at the step at which the defence looks for the
# first time. Every training sample then gets a score, and there are choices to make; *all of them are ours:*
#
# - **Which divergence?** Of the *whole* distributions of the original and the view; or only of the **told word**, the
#   one that the training data say, against all others: how much does *this* answer depend on the picture?
# - **Sum or mean** over the answer's tokens? The sum: in a mean the one word that hangs on the trigger drowns the rest.
# - **What is known anyway** (`known`): a question that can be answered without looking has an invariant answer without
#   being poisoned. So the likelihood that the model gives to the whole answer is added: an answer that it would give
#   already was not taught by the poison.
#
# **Predict before you run.** The training has only just begun. Will the backdoor fire already? And which of the
# scores will tell poisoned from clean samples best: on captions, on one-word answers?

# %%
from pcvr.training.backdoor_watch import StopAfter
from pcvr.data.subset import Subset, subset
from pcvr.analysis.premise import ViewSetting, ScoringPass, take
from pcvr.analysis.invariance import first_scan
from pcvr.evaluation.detection import auroc_of_low

look = max(1, rule.looks(config.steps)[0])
early = pcvr.finetune(base, poisoned, config=config, callbacks=[StopAfter(look)])  # a few seconds
found = first_scan(early.run, rule)  # what the defence would find here: about 10 seconds
now = pcvr.evaluate(early.model, subset(test, min(64, len(test))), badnets)
print(f"after {look} of {config.steps} steps: ASR {100 * now.asr:.0f} %")

# %%
from pcvr.defenses.pcvr.scoring import known
from pcvr.plots.histograms import invariance_histograms

some = [*np.flatnonzero(truth).tolist(), *np.flatnonzero(~truth)[:400].tolist()]  # all of the poison, 400 clean ones
bad_ones = truth[some]
settings = [ViewSetting(rule.view, rule.score_views)]
clearing = np.zeros(len(some)) if rule.known == "off" else known(early.run, by=rule.known, rows=some)
taken = ScoringPass(look, settings[0], *take(early.run, settings, some, seed)[0], clearing)
measures = {"whole words": "words", "told word": "told", "told word + known": "told + known"}
panels = {}
for name, measure in measures.items():
    values = taken.scores(measure)
    panels[name] = {"clean": values[~bad_ones], "poisoned": values[bad_ones]}
    print(f"{name:<18} AUROC of a low score {auroc_of_low(values[~bad_ones], values[bad_ones]):.3f}")

# %%
invariance_histograms(panels, xlabel="score (nats, logarithmic)", log=True)

# %% [markdown]
# Three scores of the same training samples (each group's shares add up to 100 %); the colours are the truth, which the
# defender does not have. AUROC is the probability that a random poisoned sample lies below a random clean one: 0.5 is
# guessing, 1 is perfect.
#
# <details>
# <summary>What to look for, and what a low score means here</summary>
#
# With captions even whole words do well: a caption names many things, and its divergences add up. With
# `task = "vqa"` they fail: the model has not been told the answer when it forms the one distribution that counts, so
# that distribution is the same whatever the data claim. Only the told word knows which claim is meant.
#
# And be clear about *why* a told word is invariant so early. There are two ways. **Late**, the answer is given
# whatever the patches show: that is the premise of the paper. **Early**, the answer is *not* given, whatever the
# patches show: it comes from nowhere. Both have a divergence near 0. The second is what our gate finds at its first
# look, and adding what the model knows keeps it from taking the sure honest answers, which are just as invariant, for
# poison. So what finds the poison here is close to the premise, but not the premise itself; notebook 04 measures both.
#
# The distributions are conditioned on the **training answers** (teacher forcing), the attacker's among them: that is
# what a defender has.
#
# </details>

# %% [markdown]
# ## 3. One batch to build on
#
# From here on everything happens on one small batch: 16 clean samples and up to 8 poisoned ones, far more than chance
# would give, so that there is something to see. And on two models: the one you have just stopped, and one in which the
# backdoor is complete (where a copy comes with the package; else the first stands in for it).

# %%
from pcvr.plots.gallery import contact_sheet
from pcvr.defenses.context import TrainingContext
from pcvr.teaching.shipped import shipped_fits, shipped_adapters

picks = [*np.flatnonzero(~truth)[:16].tolist(), *poisoned.poisoned[:8]]
few, bad = Subset(poisoned, picks), truth[picks]
if shipped_fits(model, data, attack, rate, seed, task):
    learned, when = pcvr.load(model, adapter=shipped_adapters(model, task)["backdoored"]), "the backdoor learned"
else:
    learned, when = early.model, f"still at step {look}"
contact_sheet([few[i] for i in range(len(few))], columns=8, marked=np.flatnonzero(bad).tolist(), captions=False)

# %% [markdown]
# The batch; frames mark the poisoned samples, for us only.

# %%
runs = {}
for name, vlm in (("early", early.model), ("learned", learned)):
    runs[name] = TrainingContext(vlm, EncodedData(vlm, few), steps=config.steps, seed=seed)
    runs[name].data.keep_features()  # without them, views are made of pixels
run = runs["early"]
batch = run.data.batch(range(len(few)))
with torch.no_grad():
    said = run.forward(batch, hidden=True)  # what the early model says to the originals
    seen = run.forward(run.view(batch, rule.view), hidden=True)  # and to one view of each
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
# Now the whole batch, with the package's own functions (they take logits and do the log-softmax themselves). First
# whole distributions, then the told word against all others: two outcomes, $p_w$ and $1 - p_w$.

# %%
from pcvr.defenses import losses
from pcvr.plots.loss_batch import batch_values

whole = said.sample_sum(losses.js_divergence(said.logits, seen.logits))
batch_values(whole, bad, "divergence (nats)", "Whole distributions, summed over the answer")

# %%
told = said.sample_sum(
    losses.js_divergence(losses.told_word(said.logits, said.targets), losses.told_word(seen.logits, seen.targets))
)
batch_values(told, bad, "divergence (nats)", "The told word against all others, summed over the answer")

# %%
batch_values(said.likelihood(), bad, "probability", "Would the model give the whole answer already?", top=1.05)

# %% [markdown]
# One bar for each sample of the batch and one single view: the divergence of whole distributions, that of the told
# word, and what clears a sample. A whole caption is never certain word for word, so with captions the last picture is
# empty; a one-word answer can be.

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
# minority, nobody is suspicious. (`gate="running"` follows the scores batch by batch instead, `"batch"` compares the
# samples of one batch, `"none"` acts on all.)
#
# **Predict before you run.** Where will the suspicion change from 1 to 0? How many clean samples will be wrongly
# suspected?

# %%
from pcvr.plots.histograms import gate_fit

gate_fit(found.scores, found.gate, truth)

# %% [markdown]
# The scores of all training samples with the fitted normals (lines) and the suspicion (dashed, right axis); the
# colours of the bars are the truth, which the gate never had.

# %%
flagged = found.gate.suspicion > 0.5
print(
    f"suspected: {flagged.sum()}; poisoned among them: {(flagged & truth).sum()} of {truth.sum()}; "
    f"clean ones wrongly suspected: {(flagged & ~truth).sum()} of {(~truth).sum()}"
)
if (found.gate.suspicion[picks] > 0.05).any():
    suspicion = torch.tensor(found.gate.suspicion[picks], dtype=torch.float32)
else:
    why = "The gate suspects none of our batch" if found.gate.found else "No separate low heap (too little training?)"
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
print(f"mean over all tokens {losses.mean():.3f} nats, weighed with trust {(trust * losses).sum() / trust.sum():.3f}")

# %%
batch_values(said.sample_mean(losses), bad, "cross-entropy (nats per token)", "What each sample has still to teach")

# %% [markdown]
# The cross-entropy of each sample: a tall bar is an answer that the model would not give. So early the poisoned ones
# are among the tall ones, and plain training will work on them hardest.
#
# ### What one step of it does
#
# A term is known by where it leads. Take one poisoned sample and one clean one, move the adapter a **small step** down
# the gradient of one term alone, look what has become of three answers, and put the adapter back: the target on the
# poisoned sample, the true answer to the same triggered picture, and the true answer to the clean picture. All steps
# have the same length, so that only their direction counts *(ours; training uses Adam, and weights)*.
#
# **Predict before you run.** One plain step on this batch, poison included: what happens to the target? And one step
# of the weighed loss?

# %%
from dataclasses import replace

from pcvr.analysis.gradients import one_step, terms_of
from pcvr.plots.gradient_steps import step_bars

marked, honest = (int(np.flatnonzero(kind)[0]) for kind in (bad, ~bad))
readings = {
    "target, triggered picture": few[marked],
    "truth, the same picture": replace(few[marked], answer=train[picks[marked]].answer),
    "truth, clean picture": few[honest],
}
length = 0.005  # of the step: half a percent of the length of all adapter weights
parts = {name: terms_of(each, batch, rule, suspicion, found.entropy, seed) for name, each in runs.items()}
steps = {}  # those of the early model
for name in ("plain", "answers"):
    steps[name] = one_step(early.model, parts["early"][name][1], readings, length)
step_bars(steps["plain"], f"plain loss, step {look}")

# %%
step_bars(steps["answers"], f"loss weighed with trust, step {look}")

# %% [markdown]
# Probability of each word of the three answers (those before it given), before and after one step down the plain loss
# (first) and the weighed one (second). The number above is the change of the whole answer's log-likelihood: 0.69 nats
# are twice as likely.
#
# <details>
# <summary>What to look for</summary>
#
# Compare the two numbers over the orange bars: with the plain loss the target becomes more likely at once, with the
# weighed one hardly or not. That difference, over some hundred steps, *is* the defence when the gate looks early.
# Leaving suspects out does not *unlearn*, though. For that there are the next terms.
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
# ## 6. Second term: pull the views apart
#
# The divergence here is that of *whole* distributions, and a mean over the answer's tokens, so that long answers are
# not pushed harder. The view is a fixed point: no gradient goes through it, the original has to move. Three **bounds**
# are at hand: `"hinge"` caps each sample (the exercise), `"cap"` caps the mean of the batch, `"none"` goes on for ever.
# *(Which of them the paper has, if any, we do not know.)*

# %%
from pcvr.analysis.gradients import pushes
from pcvr.plots.gradient_steps import bound_pushes

late_run = runs["learned"]
late_run.generator.manual_seed(seed)
with torch.no_grad():
    late = late_run.answers(batch, hidden=True)
    far = late_run.answers(late_run.view(batch, rule.view), hidden=True)
divergence = late.sample_mean(losses.js_divergence(late.logits, far.logits))
batch_values(divergence, bad, "divergence (nats)", f"How far apart are the two views, {when}?", lines={"cap": rule.cap})

# %%
suspects = suspicion > 0.05
middle = float(divergence[suspects].median())  # for once the cap stands here, so that some samples are past it
bound_pushes(divergence[suspects].numpy(), pushes(divergence[suspects], suspicion[suspects], middle), middle)

# %% [markdown]
# First, the divergence of each sample in the second model. Then, how hard each bound would push each *suspicious*
# sample if the cap stood in their middle: the hinge lets a sample go where it is past the cap, the cap on the mean lets
# all go at once or none, without a bound nobody is ever let go. (A sample that is only a little suspicious is pushed
# little.)
#
# One factor more, which is ours: **an answer that the model would not give needs no pushing.** The push on a sample is
# multiplied with the probability that the model gives its whole answer (as a number: no gradient goes through it). It
# is strong on a backdoor that fires, fades as the backdoor is unlearned, and below one percent the sample is left
# alone, which also saves the pass of its view.

# %%
batch_values(late.likelihood(), bad, "probability", f"Is the training answer given, {when}?", top=1.05)

# %% [markdown]
# The probability that the second model gives the training answer of each sample, word for word: the push is strong
# where orange bars are tall. In the early model there is next to nothing to push.
#
# **Predict before you run.** One step of this term alone, in the model whose backdoor is complete. Will the target
# become less likely? Will the truth come back?

# %%
bounds = {bound: replace(rule, bound=bound) for bound in ("hinge", "cap", "none")}
options = {f"apart, {bound}": option for bound, option in bounds.items()}
options["together"] = replace(rule, direction="together")
late_steps = {
    name: one_step(
        learned, terms_of(late_run, batch, option, suspicion, found.entropy, seed)["apart"][1], readings, length
    )
    for name, option in options.items()
}
step_bars(late_steps["apart, hinge"], f"pull apart, {when}")

# %%
step_bars(late_steps["together"], f"pull together, {when}")

# %% [markdown]
# The three answers before and after one step that pulls the views of the suspects apart, and one that pulls them
# together (`direction="together"`, the opposite sign).
#
# <details>
# <summary>What to look for (default parameters), and a riddle</summary>
#
# You may be in for a surprise: look at the sign over the orange bars. Pulling apart need not make the target less
# likely, and pulling together can. Think of section 1: most views have *lost* a local trigger. There the two
# distributions differ already, since the view gets an honest answer and the original gets the target; pulling the
# original *away from the view* then pushes it towards the target. Only where the view has kept the trigger are both
# alike, and there a Jensen-Shannon divergence of nearly 0 has hardly a slope. With a global trigger, which survives
# every view, the term is what it was made for.
#
# A first step is no verdict: many steps of the term, with the view moving along, can still take a learned backdoor out
# (the row `late` of the table in section 12, beside `late, apart`). But the term says what an answer should not be
# *like*; it does not say what it should be. This is one more reason for an early gate, and for the next term.
#
# </details>

# %% [markdown]
# ## 7. Third term: what to say instead
#
# *(All of it ours.)* A suspicious sample shows a picture with the trigger on, and the base model, which has not seen
# the training data, knows how it would begin to answer. The **restore** term holds the first word of suspicious
# samples to that: with $q_i$ the base model's distribution of the first word and $p_i$ the model's,
#
# $$L_{\text{restore}} = \frac{-\sum_i g_i \sum_w q_{i,w} \ln p_{i,w}}{\max(\sum_a (1 - g_a),\; 1)}$$
#
# times a **trust**: the base model is a guide only as far as it begins the answers of *unsuspicious* samples as the
# data tell them. Where it does so with probability $a$ on average, the trust is $\max(0, 2a - 1)$. So each found sample
# teaches that the trigger means nothing. Only the first word is held: what follows was told by the attacker. The base
# model is asked once, when a sample is found.
#
# **Predict before you run.** Captions are sentences, and the base model of this workbook speaks in telegram style; to
# questions it answers in one word, as the data do. In which task is it trusted?

# %%
trusted = late_run.state["trust"]
print(f"the base model is trusted {trusted:.2f}")
if trusted == 0:
    print("so the term is off; the step below is where it would lead if the trust were 1.")
    late_run.state["trust"] = 1.0
late_steps["restore"] = one_step(learned, parts["learned"]["restore"][1], readings, length)
late_run.state["trust"] = trusted
step_bars(late_steps["restore"], f"restore, {when}")

# %% [markdown]
# One step of the restore term. The first word is what it works on; the rest of an answer follows, or does not.

# %% [markdown]
# ## 8. The entropy constraint: stay as sure as before
#
# A model that is pulled about can cheat: become vague about everything. The **entropy** of the answer distributions
# tells. *The paper has an entropy constraint, "uncertainty-aware", that keeps normal answers from being
# over-suppressed; its form here, a ceiling at the value measured when the defence sets in, is our reading:*
#
# $$L_{\text{entropy}} = \frac{\sum_i (1 - g_i)\,\max(0,\; h_i - h_{\text{ref}} - m)}{\sum_i (1 - g_i)}$$
#
# Two other readings are options: `"band"` also has a floor, `"weighted"` counts unsure samples more.

# %%
spread = said.sample_mean(losses.entropy(said.logits))
ceiling = found.entropy + rule.entropy_margin
lines = {"ceiling": ceiling, "floor of a band": max(found.entropy - rule.entropy_margin, 0)}
batch_values(spread, bad, "entropy (nats per token)", f"How sure is the model of its words, step {look}?", lines=lines)

# %% [markdown]
# The mean entropy of each sample's answer tokens in the early model, and the ceiling below which the term leaves it
# alone; suspicious samples do not count.

# %%
for form in losses.ENTROPY:
    option = replace(rule, entropy=form)
    loss = terms_of(run, batch, option, suspicion, found.entropy, seed)["entropy"][1]
    steps[f"entropy, {form}"] = one_step(early.model, loss, readings, length)
step_bars(steps["entropy, ceiling"], f"entropy ceiling, step {look}")

# %%
for name, step in steps.items():
    if step.norm:
        moved = ", ".join(f"{reading.entropy[0]:.3f} → {reading.entropy[1]:.3f}" for reading in step.readings.values())
    else:
        moved = "no gradient: content with this batch"
    print(f"{name:<18} entropy of the three answers (nats): {moved}")

# %% [markdown]
# One step of the ceiling alone, and what each step so far did to the entropy of the three answers. The term looks only
# at trusted samples above the ceiling; what happens to these three may be a side effect. And it makes vague answers
# surer *whatever they say*: it knows no truth, so its weight is small.
#
# <details>
# <summary>Why not a band?</summary>
#
# The defence sets in early, when a model is still vague; a floor would keep it from becoming surer, and learning to
# answer is becoming surer. Once it has learned, every clean answer lies below the floor, and the band pulls all of
# them up.
#
# </details>

# %% [markdown]
# ## 9. The feature term
#
# The pull-apart idea one floor below the words: the last hidden states of the two views should not be nearly parallel
# on suspicious samples. *That the method acts on features is the paper's; the capped cosine is ours:*
#
# $$L_{\text{features}} = \frac{\sum_i g_i \max(0,\; \cos_i - c_f)}{\sum_i g_i}$$

# %%
cosine = late.sample_mean(losses.feature_agreement(late.hidden, far.hidden))
batch_values(cosine, bad, "cosine", f"How alike are the hidden states, {when}?", lines={"cap": rule.feature_cap})

# %%
late_steps["features"] = one_step(learned, parts["learned"]["features"][1], readings, length)
step_bars(late_steps["features"], f"features, {when}")

# %% [markdown]
# The mean cosine between the two views' hidden states for each sample (only what stands above the line, on suspicious
# samples, is penalised), and one step of the term.

# %%
from pcvr.plots.loss_batch import term_shapes

term_shapes(rule.cap, found.entropy, rule.entropy_margin, rule.feature_cap)

# %% [markdown]
# The penalties as curves: on grey ground the thick one is zero and the model is left in peace. Each of the defence's
# own forms has such a resting place; that is what keeps it from eating the good answers. Thin lines are the options.

# %% [markdown]
# ## 10. Put together
#
# **Predict before you run.** All steps side by side: which term alone would you trust to take a learned backdoor out?

# %%
from pcvr.plots.gradient_steps import step_table

step_table(steps, f"One step down each term, step {look} of a plain training")

# %%
for name in ("plain", "answers"):
    late_steps[name] = one_step(learned, parts["learned"][name][1], readings, length)
step_table(late_steps, f"One step down each term, {when}")

# %% [markdown]
# Change of the log-likelihood of the three answers after one step of equal length down each term, in the early model
# (first) and in the second one: left the target, in the middle the truth that should come back, right the truth that
# should stay. One step, one batch, one view: a direction, not a verdict.

# %%
from pcvr.plots.loss_batch import parts as bars_of

pieces = {}
for name, (weight, loss) in parts["learned"].items():
    if weight:
        with torch.no_grad():
            pieces[f"{weight:g} × {name}"] = weight * float(loss())
bars_of(pieces, f"What the loss of this batch is made of, {when}")

# %% [markdown]
# What each weighted term contributes to the loss of this batch in the second model. Is that all there is to it? Ask the
# package for the loss of the same batch, in the same state:

# %%
from pcvr.defenses.pcvr import anchor

rule.begin(late_run)
anchor.judge(late_run, (~suspects).nonzero()[:, 0].tolist())  # is the base model a guide?
anchor.remember(late_run, suspects.nonzero()[:, 0].tolist())  # what would it say to suspects?
late_run.state |= {"gate": suspicion, "entropy": found.entropy, "scorings": [{"step": look}]}  # it has looked once
late_run.step = look + 1
late_run.generator.manual_seed(seed)
with torch.no_grad():
    package = float(rule.loss(late_run, batch))
print(f"by parts {sum(pieces.values()):.5f}, by pcvr.PCVR {package:.5f}")

# %% [markdown]
# The two agree up to rounding: you have seen the whole loss.

# %% [markdown]
# ## 11. Train with it
#
# `defense="pcvr"` trains plainly at first, looks at all samples at the shares of the training given by `score_at`,
# and uses the loss above from then on. Once suspected, a sample stays so: what is no longer trained soon looks clean
# again.
#
# **Predict before you run.** What was the ASR without a defence (notebook 03)? What will it be now? And what will it
# cost in good answers and in seconds?

# %%
del early, run, runs, parts, late_run  # they hold pictures as tensors; the next training makes its own
result = pcvr.finetune(base, poisoned, defense=rule, config=config)  # about 50 seconds
print(result)

# %% [markdown]
# Steps and seconds, and a line for each thing that the gate is not sure of (`result.notes`): too few samples, groups of
# scores that overlap, a look before any training. With the parameters as shipped it has nothing to say.

# %%
from pcvr.plots.training import history_curves

looks = {f"look {k}": scoring["step"] for k, scoring in enumerate(result.run.state["scorings"], 1)}
history_curves({"PCVR": result.history}, marks=looks)

# %% [markdown]
# The loss of the defended training; the dotted line marks the step at which all samples were scored, and from which
# the other terms are added.

# %%
from pcvr.experiments.experiment import gate_quality

for quality in gate_quality(result.run.state["scorings"], poisoned.poisoned, len(poisoned)):
    print(quality)

# %% [markdown]
# What each look found, compared with the truth: how many samples were flagged, how many of these are false alarms,
# the AUROC of a low score, and which share of the poison was caught (`recall`). What the gate misses is trained like
# any other sample, and may be enough for the backdoor: think of the poison rates in notebook 03.
#
# ### Watch one
#
# The same in the background: *Start* begins, the curves follow, *Stop* ends it after the step under way and keeps what
# was trained so far. Try another `pcvr.PCVR(...)` in place of `rule`, such as `score_at=(0.5,)`, and stop it when you
# have seen enough. Nothing depends on it; leave it alone if you like.

# %%
from pcvr.widgets.live import live_training

watched, training = live_training(base, poisoned, rule, config)
watched

# %% [markdown]
# Loss and what the defence says of itself, step by step. While another cell runs, the box stands still.
# `training.result()` in a cell of its own waits for the end and gives what `pcvr.finetune` gives.

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
# Compare with notebook 03 at the same parameters: only the ASR that the defence takes away is its merit, and the right
# answers on *triggered* pictures say whether something was restored.
#
# One training is one training. The package ships a table of tiny-llava and captions, the main rows with three seeds,
# made by `benchmarks/spine.py`, where *plain SFT* and *augment only* stand beside PCVR: the same data, the same
# steps, the same test.
#
# **Predict before you run.** *Augment only* trains on the perturbed view and adds nothing else. Where will it stand,
# left and right?

# %%
from pcvr.experiments import results
from pcvr.plots.results import summary

spine = results.load("spine")
summary(spine)

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

# %% [markdown]
# ## 12. Switch a part off
#
# Every part has its switch. What each change does to tiny-llava, captions and BadNets stands in the shipped table
# where it was run:

# %%
from pcvr.experiments.ablations import ablation_rows, get_ablation

print(f"{'ablation':<14}{'ASR':<24}{'right':<9}{'triggered':<11}what is changed (a shipped row for each defence, or -)")
for name, what, asr, right, triggered_right in ablation_rows(spine):
    print(f"{name:<14}{asr:<24}{right:<9}{triggered_right:<11}{what}")

# %% [markdown]
# ASR, right answers to clean and to triggered pictures, of PCVR with one part changed; a dash where the table has no
# such row.
#
# With the early look most switches change little: the poison is found before it is learned, and leaving it out is
# enough. The other terms are there for what slips through and for what is found late. That is why the default of the
# next cell looks only **half-way**, when the backdoor has formed, and then only leaves the suspects out.
#
# **Predict before you run.** From half-way on the gate leaves the suspects out and nothing pulls them apart. Is the
# backdoor gone at the end? Then choose another `ablation` at the top, and predict again.

# %%
from pcvr.plots.training import compare

changed = get_ablation(ablation)
print(changed.what)
other = pcvr.finetune(base, poisoned, changed.rule(), config)  # about a minute
trials = {"PCVR": record, f"ablation: {ablation}": pcvr.evaluate(other.model, test, badnets)}
for name in ("none", "augment") if retrain else ():
    trials[name] = pcvr.evaluate(pcvr.finetune(base, poisoned, name, config).model, test, badnets)
compare(trials)

# %% [markdown]
# The defended training and the one with the change, side by side; with `retrain = True` no defence and *augment only*
# as well.
#
# <details>
# <summary>Answer: what leaving out cannot do</summary>
#
# Leaving out does not *unlearn*: the rest of the data says nothing about the trigger, so nothing contradicts what was
# learned. Compare `late` with `late, apart` in the table above: the same look, with and without pulling apart.
#
# </details>

# %%
from dataclasses import fields

for option in fields(rule):
    print(f"{option.name:<15} {getattr(rule, option.name)!s:<64} {option.metadata['help']}")

# %% [markdown]
# All options with their defaults: `pcvr.PCVR(score_at=(0.1, 0.3), bound="cap")` changes them, and notebook 07 lets you
# explore them.

# %% [markdown]
# ## What this does not show
#
# - **One attack at a time.** The defaults were chosen on two attacks, one local and one global, and nobody looked at
#   others. Set `attack` above to another one; notebook 08 compares all, notebook 09 attacks the defence with its own
#   weapons.
# - **One target.** The replaced answer is the same for every poisoned sample. Where the answer keeps the picture's
#   content, invariance means something else.
# - **What each part adds.** One ablation with one seed is an anecdote; only the table's main rows have three.
# - **The paper's figures.** It reports about 98 % → 27-58 % ASR over six attacks on large models. Our numbers come
#   from another model, other data and our reading of the method: the two cannot be compared.
#
# ## Recap
#
# - A poisoned sample can be told by what its told answer *does not* depend on: the picture, and what the model knew.
# - The gate turns this from a nice plot into a defence; early, leaving the suspects out does most of the work.
# - Pulling apart says what an answer should not be like. Where a view deletes the trigger, its first step can point the
#   wrong way, and it takes many to unlearn what was learned. Saying what to answer instead is more direct, where there
#   is somebody to ask.
# - Cap, ceiling and cosine cap give every push a place to stop.
# - A defence is judged by ASR **and** by answers to clean **and** to triggered pictures, against *augment only*.
#
# **Who says what.** The paper ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)): premise, patch view, pulling
# apart, entropy constraint, the feature level. Ours: operator, share and level of the view, told word and what is
# known, Jensen-Shannon, bounds, gate, schedule, fading, restoring, ceiling, cosine cap, every number.
#
# **Next:** [06 Output distributions](06_output_distributions.ipynb) looks at single words, before and after the
# defence.
