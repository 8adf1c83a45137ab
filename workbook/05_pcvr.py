# %% [markdown]
# # PCVR: the defence, term by term
#
# You build the loss of patch cross-view regularisation by hand on one batch. Two parts of it are exercises. You see
# how a single step along each term changes a model. Then you train with this loss on the poisoned data of notebook
# 03.
#
# **After this notebook you can**
# - say how training samples are scored, and what a low score means early and late;
# - say what each term of the loss is for, which samples it uses, and when it stops pushing;
# - write the Jensen-Shannon divergence and the capped pull-apart loss yourself;
# - train a defended model, switch its parts off, and say what comes from the paper and what is our choice;
# - say how the default gate decides as the data go by, and what the views contribute to it.
#
# **Time and hardware:** 50 minutes with both exercises. The cells run in three to four minutes on two CPU cores. Three
# trainings take most of that time. You need no GPU.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa", questions with one-word answers
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"
rate = 0.05  # fraction of the training samples to poison
seed = 0  # of the choice of poisoned samples, the training and the views
ablation = "late, apart"  # the part to switch off in section 13: a name from the table there
fast = False  # True: 12 steps on 64 samples, for tests; too few for the defence to show
retrain = False  # True: also train two controls here (no defence, augment only) instead of reading shipped results

# %%
import pcvr
import numpy as np
import torch
from pcvr.tasks import get_task
from pcvr.teaching import check
from pcvr.teaching.shipped import notebook_data

config = pcvr.TrainConfig(max_steps=12 if fast else 400, seed=seed)
base = pcvr.load(model)
badnets = pcvr.get_attack(attack, task=task).fitted_to(model)
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 256, task=task)
poisoned = pcvr.poison(train, badnets, rate=rate, seed=seed)
truth = np.array([poisoned.is_poisoned(i) for i in range(len(poisoned))])  # for our evaluation: hidden from defences
print(f"{truth.sum()} of {len(truth)} training samples are poisoned.")

# %% [markdown]
# ## The idea in a few sentences
#
# A good answer depends on the image: if patches are perturbed, the model becomes less sure of its words. A backdoored
# answer depends on the trigger, or on nothing in the image at all: if patches are perturbed, it hardly changes. So
# **abnormal invariance between two views (the image and a perturbed copy) reveals a poisoned sample**. The defence
# measures this invariance during training. It keeps the model from learning suspicious answers, or pushes the model
# away from such answers.
#
# | part | the paper states | our choice |
# | --- | --- | --- |
# | second view | patch-level augmentation of each image, at the feature level | which patches; at the tower's output |
# | score | backdoored answers are abnormally invariant | label token or whole distributions; likelihood |
# | gate | benign answers must be preserved | a mixture model decides which samples count, and when |
# | pull apart | the output distributions of both views are pulled apart | divergence, bound, fading |
# | anchor | - | flagged answers begin as in the base model, weighted by its reliability |
# | entropy | an uncertainty-aware entropy constraint | its form: a ceiling |
# | features | the augmentation acts at the feature level | a capped cosine of last hidden states |
#
# We could read the paper's abstract and summaries of it, but not its full text. Every formula below says which parts
# are the paper's and which are ours.
#
# Sections 1 to 11 use the gate `"two_stage"`. It scans all samples once, so you can look at everything that it sees.
# The default gate of `pcvr.PCVR()`, `"stream"`, decides as the data go by: section 12 shows it.

# %%
rule = pcvr.PCVR(gate="two_stage")
print(rule.view)

# %% [markdown]
# ## 1. Two views of an image
#
# A **patch view** perturbs a fraction of the image's patches. There are five operators: replace patches by those of
# another image, fill them with the mean colour or with noise, shift them cyclically, or exchange them in pairs.
#
# **Predict before you run.** This image carries the trigger. In which views is the trigger still there? If a trigger
# lies inside one patch (of 36, on scenes), what is the probability that it survives a view?

# %%
from pcvr.plots.views import view_sheet
from pcvr.analysis.two_views import view_pictures
from pcvr.views import OPERATORS

shown = [badnets.triggered(test[i]) for i in range(4)]
fractions = tuple(sorted({0.3, 0.6, rule.view.fraction}))
views = {
    operator: {s: view_pictures(base, shown, pcvr.PatchView(operator, s), seed)[1][0] for s in fractions}
    for operator in OPERATORS
}
view_sheet(shown[0].image, views, chosen=(rule.view.operator, rule.view.fraction))

# %% [markdown]
# One triggered image and views of it. The columns are operators and the rows are fractions of patches. The frame
# marks the operator and the fraction of the defence.
#
# <details>
# <summary>Answer</summary>
#
# If a view changes a fraction $s$ of the patches, a trigger inside one patch survives with probability $1 - s$. So a
# strong view nearly always *deletes* a local trigger. A part of a global trigger (stripes, a blended image) survives in
# the unchanged patches. Whether a part is enough is another question: notebook 06 measures it. Remember this for
# section 6: it decides there in which direction a step of the defence leads.
#
# </details>
#
# **The defence itself does not perturb the image.** These views have `level="pixels"`, so that you can look at them.
# By default the defence uses `level="features"`. The frozen tower reads each image once. A view then changes the
# *tokens* of the tower, one token for each patch, and the connector reads the changed tokens. *(The paper says that
# the method acts at the feature level. We read this as the output of the tower.)* The reason is cost: a view of
# pixels needs another pass through the tower.

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
print(f"tower features of 32 images: {list(tokens.shape)}")
print(f"the tower reads them in {1000 * (between - begun):.0f} ms", end="; ")
print(f"a view of its features takes {1000 * (perf_counter() - between):.1f} ms")

# %% [markdown]
# The time that the tower needs for one batch of images on your machine, and the time for a view of its features. (If
# there is one token more than patches, it is the tower's own token for the whole image.)

# %% [markdown]
# ## 2. The score, and when it is computed
#
# The next cell starts an ordinary training on the poisoned data and stops it at the step of the gate's first scan.
# Then every training sample gets a score. There are choices to make, and *all of them are ours:*
#
# - **Which divergence?** We can compare the *whole* distributions of the original and the view, or only the **label
#   token** against all other words. The label token is the token in the training data at this place. The second
#   choice asks how much *this* answer depends on the image.
# - **Sum or mean** over the tokens of the answer? We take the sum. In a mean, the many other words hide the one word
#   that depends on the trigger.
# - **What would the model answer anyway?** (`clear_with`) A question that needs no image has an invariant answer
#   without being poisoned. So we add the model's likelihood of the whole label to the score. If the model would
#   already give an answer, it has not learned this answer from the poison.
#
# **Predict before you run.** The training has only just begun. Does the backdoor fire already? Which of the scores
# will separate poisoned from clean samples best, for captions and for one-word answers?

# %%
from pcvr.training.backdoor_watch import StopAfter
from pcvr.data.subset import Subset, subset
from pcvr.analysis.premise import ViewSetting, ScoringPass, take
from pcvr.analysis.invariance import first_scan
from pcvr.evaluation.detection import auroc_of_low

look = max(1, rule.scan_steps(config.max_steps)[0])
early = pcvr.finetune(base, poisoned, config=config, callbacks=[StopAfter(look)])  # a few seconds
found = first_scan(early.run, rule)  # what the defence would find here: about 10 seconds
now = pcvr.evaluate(early.model, subset(test, min(64, len(test))), badnets)
print(f"after {look} of {config.max_steps} steps: ASR {100 * now.asr:.0f} %")

# %%
from pcvr.defenses.pcvr.scoring import answer_likelihood
from pcvr.plots.histograms import invariance_histograms

some = [*np.flatnonzero(truth).tolist(), *np.flatnonzero(~truth)[:400].tolist()]  # all poisoned, 400 clean samples
bad_ones = truth[some]
settings = [ViewSetting(rule.view, rule.score_views)]
clearing = answer_likelihood(early.run, clear_with=rule.clear_with, rows=some)
taken = ScoringPass(look, settings[0], *take(early.run, settings, some, seed)[0], clearing)
panels = {}
for measure in ("distribution", "label", "label + likelihood"):
    values = taken.scores(measure)
    panels[measure] = {"clean": values[~bad_ones], "poisoned": values[bad_ones]}
    print(f"{measure:<20} AUROC of a low score {auroc_of_low(values[~bad_ones], values[bad_ones]):.3f}")

# %%
invariance_histograms(panels, xlabel="score (nats, logarithmic)", log=True)

# %% [markdown]
# Three scores of the same training samples (the bars of each group add up to 100 %). The colours show the truth,
# which the defender does not know. AUROC is the probability that a random poisoned sample scores below a random clean
# one: 0.5 is a random guess, 1 is perfect.
#
# <details>
# <summary>What to look for, and what a low score means here</summary>
#
# With captions, even whole distributions work well: a caption names many things, and its divergences add up. With
# `task = "vqa"` they fail. With one-word answers, only one distribution counts, and the model outputs it before it
# has read the label. So this distribution is the same for every label. Only the divergence of the label token depends
# on the label.
#
# It is important to know *why* a label token is invariant so early. There are two reasons. **Late**, the model gives
# the answer whatever the patches show: this is the premise of the paper. **Early**, the model does *not* give the
# answer, whatever the patches show, because it has no reason to. In both cases the divergence is near 0. Our gate
# finds the second case at its first scan. Confident honest answers are just as invariant. The likelihood term keeps
# the gate from flagging them. So what finds the poison here is close to the premise, but it is not the premise
# itself. Notebook 04 measures both.
#
# The distributions are conditioned on the **labels** (teacher forcing: the model reads along the label), including
# the attacker's labels. A defender has nothing else.
#
# </details>

# %% [markdown]
# ## 3. One batch to build on
#
# From here on everything happens on one small batch of 16 clean samples and up to 8 poisoned ones. A random batch
# contains far less poison, but then there would be little to see. We use two models. One is the model that you have
# just stopped. In the other one the backdoor is complete. (If no such copy comes with the package, the first model
# replaces it.)

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
# The batch. Frames mark the poisoned samples, only for us.

# %%
runs = {}
for name, vlm in (("early", early.model), ("learned", learned)):
    runs[name] = TrainingContext(vlm, EncodedData(vlm, few), steps=config.max_steps, seed=seed)
    runs[name].data.keep_features()  # without these features, views would perturb pixels
run = runs["early"]
batch = run.data.batch(range(len(few)))
with torch.no_grad():
    said = run.forward(batch, hidden=True)  # the early model's logits for the originals
    seen = run.forward(run.view(batch, rule.view), hidden=True)  # and for one view of each
print("logits", list(said.logits.shape), "one row for each answer token of the batch, one column for each word")
print("owner ", list(said.owner.shape), "whose token it is:", said.owner[:20].tolist(), "...")

# %% [markdown]
# Answers have different lengths. So the answer tokens of the whole batch are packed into one table without padding:
# `A` rows (tokens) and `V` columns (words). `sample_mean` turns one value for each token into one value for each
# sample.

# %% [markdown]
# ## Exercise 05a: how far apart are two distributions?
# <!-- card difficulty=2 importance=5 minutes=10 -->
#
# The **Jensen-Shannon divergence** compares two distributions with their mean $m = (p + q)/2$:
#
# $$\mathrm{JS}(p, q) = \tfrac12 \sum_w p_w \ln\frac{p_w}{m_w} + \tfrac12 \sum_w q_w \ln\frac{q_w}{m_w}$$
#
# It is 0 if both distributions agree. It is at most $\ln 2 \approx 0.693$ (nats), if they have no word in common.
# *The paper says "output difference". This divergence is our choice: it is symmetric, and it has a maximum, so
# pulling apart has an end.*
#
# Write `js_divergence` for **log**-probabilities of shape `[B, T, V]`. It returns `[B, T]`. Stay with logarithms as
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
# The next cells compute the divergence for the whole batch, with the package's own functions. (They take logits and
# apply the log-softmax themselves.) First you see the divergence of whole distributions, then of the label token
# against all other words: two outcomes, $p_w$ and $1 - p_w$.

# %%
from pcvr.defenses import losses
from pcvr.plots.loss_batch import batch_values

whole = said.sample_sum(losses.js_divergence(said.logits, seen.logits))
batch_values(whole, bad, "divergence (nats)", "Whole distributions, summed over the answer")

# %%
one, other = (losses.label_vs_rest(each.logits, each.targets) for each in (said, seen))
by_label = said.sample_sum(losses.js_divergence(one, other))
batch_values(by_label, bad, "divergence (nats)", "The label token against all others, summed over the answer")

# %%
batch_values(said.likelihood(), bad, "probability", "Would the model already give the whole answer?", top=1.05)

# %% [markdown]
# Three figures with one bar for each sample of the batch: the divergence of whole distributions, the divergence of
# the label token, and the likelihood that clears a sample (keeps it from being flagged). The divergences are from one
# single view. The model is never certain of a whole caption word for word, so with captions the last figure is nearly
# empty. It can be certain of a one-word answer.

# %% [markdown]
# ## 4. The gate: which samples to flag
#
# Suppose that we pull the views of *every* sample apart. That would teach the model to react to any patch, and it
# would not remove the backdoor, because the clean 95 % of the samples dominate. So a **gate** decides which samples
# count. It does not know which samples are poisoned. It gets the scores of all samples and tests whether they form
# two groups. *The gate is ours: the paper says that benign answers must be preserved, but not how to recognise them.*
#
# Technically, it is a mixture of two normal distributions on the *logarithm* of the scores. The **suspicion** of a
# sample, from 0 to 1, is its posterior probability of belonging to the low group. If the two groups are not clearly
# separated, or if the low group is not a minority, all suspicions are 0. (`gate="running"` follows the scores batch
# by batch instead, `"batch"` compares the samples of one batch, `"none"` acts on all samples, and the default,
# `"stream"`, is the subject of section 12.)
#
# **Predict before you run.** Where will the suspicion change from 1 to 0? How many clean samples will be flagged by
# mistake?

# %%
from pcvr.plots.histograms import gate_fit

gate_fit(found.scores, found.gate, truth)

# %% [markdown]
# The scores of all training samples with the fitted normal distributions (lines) and the suspicion (dashed, right
# axis). The colours of the bars show the truth, which the gate never used.

# %%
flagged = found.gate.suspicion > 0.5
print(
    f"flagged: {flagged.sum()}; poisoned among them: {(flagged & truth).sum()} of {truth.sum()}; "
    f"false positives: {(flagged & ~truth).sum()} of {(~truth).sum()} clean samples"
)
if (found.gate.suspicion[picks] > 0.05).any():
    suspicion = torch.tensor(found.gate.suspicion[picks], dtype=torch.float32)
else:
    why = "The gate flags no sample of our batch" if found.gate.found else "No low group (too little training?)"
    print(f"{why}: below, the truth replaces the suspicion.")
    suspicion = torch.tensor(bad, dtype=torch.float32)

# %%
batch_values(suspicion, bad, "suspicion (0 to 1)", "The gate on our batch", top=1.05)

# %% [markdown]
# The suspicion of each sample of the batch. In the formulas below it is called $g$, for gate. All following terms are
# multiplied by $g$ or by $1 - g$. If the gate flags the wrong samples, the terms push the wrong samples, and the
# defence fails.

# %% [markdown]
# ## 5. First term: learn from the samples you trust
#
# Plain fine-tuning takes the mean cross-entropy of all tokens. Here each token is weighted by the **trust** in its
# sample, $1 - g$ ($\ell_a$ is the cross-entropy of token $a$):
#
# $$L_{\text{answer}} = \frac{\sum_a (1 - g_a)\,\ell_a}{\sum_a (1 - g_a)}$$
#
# *(The loss is that of ordinary fine-tuning; the weights are ours.)* **Predict:** will the loss of this batch rise or
# fall when the poisoned samples are left out?

# %%
from torch.nn.functional import cross_entropy

token_losses = cross_entropy(said.logits, said.targets, reduction="none")  # [A]
trust = 1 - suspicion[said.owner]
weighted = (trust * token_losses).sum() / trust.sum()
print(f"mean over all tokens {token_losses.mean():.3f} nats, weighted by trust {weighted:.3f}")

# %%
batch_values(said.sample_mean(token_losses), bad, "cross-entropy (nats per token)", "The loss of each sample")

# %% [markdown]
# The cross-entropy of each sample. A high bar is an answer that the model would not give. Early in training the
# poisoned samples are among the high bars, and plain training changes the model most for them.
#
# ### The effect of one step along this term
#
# To understand a term, look at how it changes the model. Take one poisoned and one clean sample. Move the adapter by
# a **small step** along the negative gradient of one term alone. Measure how three answers change, and put the
# adapter back. The three answers are the target on the poisoned sample, the true answer to the same triggered image,
# and the true answer to the clean image. All steps have the same length, so that only their direction counts. *(This
# is our method. Training uses Adam, and weights for the terms.)*
#
# **Predict before you run.** Take one plain step on this batch, poison included: how does the probability of the
# target change? How does it change with one step of the weighted loss?

# %%
from dataclasses import replace

from pcvr.analysis.gradients import one_step, terms_of
from pcvr.plots.gradient_steps import step_bars

marked, honest = (int(np.flatnonzero(kind)[0]) for kind in (bad, ~bad))
readings = {
    "target, triggered image": few[marked],
    "truth, the same image": replace(few[marked], answer=train[picks[marked]].answer),
    "truth, clean image": few[honest],
}
length = 0.005  # of the step, as a fraction of the norm of all adapter weights
parts = {name: terms_of(each, batch, rule, suspicion, found.entropy, seed) for name, each in runs.items()}
steps = {}  # steps of the early model
for name in ("plain", "cross_entropy"):
    steps[name] = one_step(early.model, parts["early"][name][1], readings, length)
step_bars(steps["plain"], f"plain loss, step {look}")

# %%
step_bars(steps["cross_entropy"], f"loss weighted by trust, step {look}")

# %% [markdown]
# The probability of each word of the three answers (given the words before it), before and after one step along the
# plain loss (first figure) and the weighted loss (second figure). The number above is the change of the
# log-likelihood of the whole answer: 0.69 nats means twice as likely.
#
# <details>
# <summary>What to look for</summary>
#
# Compare the two numbers over the orange bars. With the plain loss the target becomes more likely at once. With the
# weighted loss it hardly changes. If the gate scans early, this difference, added up over some hundred steps, *is*
# the defence. But if flagged samples are left out, the model does not *unlearn* anything. The next terms are for
# unlearning.
#
# </details>

# %% [markdown]
# ## Exercise 05b: pull the views apart, up to a cap
# <!-- card difficulty=3 importance=5 minutes=15 -->
#
# For samples with high suspicion, this term acts against the invariance itself. The more the two views agree, the
# larger the loss. ($d_i$ is the divergence between the two views of sample $i$.) Once the views are a **cap** $c$
# apart, the loss is zero:
#
# $$L_{\text{apart}} = \frac{\sum_i g_i \max(0,\; c - d_i)}{\max(\sum_i g_i,\; 10^{-6})}$$
#
# *Pulling distributions apart is the paper's idea. The cap and the gate are ours. Without a cap the term never stops
# pushing, and in the end the answers of the model are nonsense.*
#
# Write `capped_pull_apart` for divergences and gates of shape `[B]`. The gradient has to flow through `div`.


# %% tags=["exercise"]
def capped_pull_apart(div: torch.Tensor, gate: torch.Tensor, cap: float) -> torch.Tensor:
    """Divergences in nats [B], gates in 0 to 1 [B] -> a scalar."""
    # --- solution
    missing = torch.relu(cap - div)  # distance that is still missing to the cap
    return (gate * missing).sum() / gate.sum().clamp_min(1e-6)
    # --- stub
    # | missing = ...  # how far each sample still is from the cap, never below 0
    # | # The mean of `missing`, weighted by the gate:
    # | return ...
    # --- end


# %%
check.capped_pull_apart(capped_pull_apart)

# %% [markdown]
# ## 6. Second term: pull the views apart
#
# This term uses the divergence of *whole* distributions and takes a mean over the tokens of the answer, so that long
# answers are not pushed harder. The view is a fixed point: no gradient goes through it, so only the original moves.
# There are three **bounds**: `"hinge"` caps each sample (the exercise), `"cap"` caps the mean of the batch, and
# `"none"` never stops. *(We do not know which of them the paper has, if any.)*

# %%
from pcvr.analysis.gradients import pushes
from pcvr.plots.gradient_steps import bound_pushes

late_run = runs["learned"]
late_run.generator.manual_seed(seed)
with torch.no_grad():
    late = late_run.forward(batch, hidden=True)
    far = late_run.forward(late_run.view(batch, rule.view), hidden=True)
divergence = late.sample_mean(losses.js_divergence(late.logits, far.logits))
batch_values(divergence, bad, "divergence (nats)", f"How far apart are the two views, {when}?", lines={"cap": rule.cap})

# %%
suspects = suspicion > 0.05
middle = float(divergence[suspects].median())  # only here the cap is the median, so that some samples exceed it
bound_pushes(divergence[suspects].numpy(), pushes(divergence[suspects], suspicion[suspects], middle), middle)

# %% [markdown]
# The first figure shows the divergence of each sample in the second model. The second figure shows how hard each
# bound would push each *suspicious* sample if the cap were their median. The hinge stops pushing a sample that has
# passed the cap. The cap on the mean stops for all samples at once or for none. Without a bound the push never stops.
# (A sample with a lower suspicion gets a weaker push.)
#
# We add one more factor: **an answer that the model would not give needs no push.** The push on a sample is
# multiplied by the probability that the model gives its whole label. (The probability is a constant here: no gradient
# goes through it.) The push is strong on a backdoor that fires, and it fades as the backdoor is unlearned. If the
# probability is below one per cent, the sample gets no push, which also saves the forward pass of its view.

# %%
batch_values(late.likelihood(), bad, "probability", f"Does the model give the label, {when}?", top=1.05)

# %% [markdown]
# The probability that the second model gives the label of each sample, word for word. The push is strong where orange
# bars are high. In the early model there is almost nothing to push.
#
# **Predict before you run.** Take one step along this term alone, in the model whose backdoor is complete. Will the
# target become less likely? Will the true answer become more likely?

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
# The three answers before and after one step that pulls the views of the suspicious samples apart, and one step that
# pulls them together (`direction="together"`, the opposite sign).
#
# <details>
# <summary>What to look for (default parameters), and an explanation</summary>
#
# The result may surprise you: look at the sign over the orange bars. Pulling apart may make the target *more* likely,
# and pulling together may make it *less* likely. The reason is in section 1: most views have *lost* a local trigger.
# Then the two distributions already differ, because the model gives an honest answer to the view and the target to
# the original. Pulling the original *away from the view* then pushes it towards the target. The two agree only if the
# view has kept the trigger. But near 0 the Jensen-Shannon divergence has almost no gradient. For a global trigger the
# same question arises, since a view leaves only a part of it (notebook 06, section 6).
#
# A first step does not decide the outcome. Many steps of the term, each with a new view, can still remove a learned
# backdoor. (Compare two rows of the table in section 12: `late` scans late and pulls apart; `late, apart` scans late
# with the term *apart* switched off.) But the term only says what an answer should not be *like*. It does not say
# what the answer should be. This is one more reason for an early gate and for the next term.
#
# </details>

# %% [markdown]
# ## 7. Third term: what to answer instead
#
# *(All of this is ours.)* A suspicious sample shows an image with the trigger. The base model has not seen the
# training data, so it can show how an honest answer would begin. The **anchor** term keeps the first word of the
# answer to suspicious samples close to the base model. With $q_i$ the base model's distribution of the first word and
# $p_i$ the model's,
#
# $$L_{\text{anchor}} = \frac{-\sum_i g_i \sum_w q_{i,w} \ln p_{i,w}}{\max(\sum_a (1 - g_a),\; 1)}$$
#
# This is multiplied by the **reliability** of the base model. The base model is reliable if it begins the answers of
# *unsuspicious* samples as their labels do. If it gives the first token of their labels with probability $a$ on
# average, its reliability is $\max(0, 2a - 1)$. So each flagged sample teaches the model that the trigger means
# nothing. The term only uses the first word, because in the training data all later words follow the attacker's
# words. The base model answers only once, when a sample is flagged.
#
# **Predict before you run.** Captions are sentences, and the base model of this workbook answers in short phrases. It
# answers questions in one word, as the data do. In which task is the base model reliable?

# %%
trusted = late_run.state["trust"]
print(f"reliability of the base model: {trusted:.2f}")
if trusted == 0:
    print("so the term is off; the step below shows its effect at a reliability of 1.")
    late_run.state["trust"] = 1.0
late_steps["anchor"] = one_step(learned, parts["learned"]["anchor"][1], readings, length)
late_run.state["trust"] = trusted
step_bars(late_steps["anchor"], f"anchor, {when}")

# %% [markdown]
# One step along the anchor term. The term acts on the first word. The later words of an answer may change or not.

# %% [markdown]
# ## 8. The entropy constraint: stay as sure as before
#
# A model under such pushes can avoid the penalties if it becomes unsure of everything. The **entropy** of the answer
# distributions shows this. *The paper has an "uncertainty-aware" entropy constraint that keeps normal answers from
# being over-suppressed. Its form here is our reading: a ceiling at the value measured at the first scan:*
#
# $$L_{\text{entropy}} = \frac{\sum_i (1 - g_i)\,\max(0,\; h_i - h_{\text{ref}} - m)}{\sum_i (1 - g_i)}$$
#
# Two other readings are options: `"band"` also has a floor, and `"weighted"` counts unsure samples more.

# %%
spread = said.sample_mean(losses.entropy(said.logits))
ceiling = found.entropy + rule.entropy_margin
lines = {"ceiling": ceiling, "floor of a band": max(found.entropy - rule.entropy_margin, 0)}
batch_values(spread, bad, "entropy (nats per token)", f"How sure is the model of its words, step {look}?", lines=lines)

# %% [markdown]
# The mean entropy of each sample's answer tokens in the early model, and the ceiling. Below the ceiling the term is
# zero. Suspicious samples do not count.

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
        moved = "no gradient: the term is zero on this batch"
    print(f"{name:<18} entropy of the three answers (nats): {moved}")

# %% [markdown]
# The figure shows one step of the ceiling alone. The lines below it show the effect of each step so far on the
# entropy of the three answers. The term only uses trusted samples above the ceiling, so its effect on these three
# answers may be a side effect. It also makes unsure answers surer, correct or not: it does not know which answer is
# correct. So its weight is small.
#
# <details>
# <summary>Why not a band?</summary>
#
# The defence starts early, when the model is still unsure. A model that learns to answer becomes surer, and a floor
# would prevent that. At the end of the training, every clean answer lies below the floor, and the band pushes the
# entropy of all of them up.
#
# </details>

# %% [markdown]
# ## 9. The feature term
#
# This term pulls apart one level below the words: on suspicious samples, the last hidden states (vectors of the
# language model) of the two views should not be nearly parallel. *Acting on features is the paper's idea; the cosine
# with a cap $c_f$ is ours:*
#
# $$L_{\text{features}} = \frac{\sum_i g_i \max(0,\; \cos_i - c_f)}{\sum_i g_i}$$

# %%
cosine = late.sample_mean(losses.feature_agreement(late.hidden, far.hidden))
batch_values(cosine, bad, "cosine", f"How similar are the hidden states, {when}?", lines={"cap": rule.feature_cap})

# %%
late_steps["features"] = one_step(learned, parts["learned"]["features"][1], readings, length)
step_bars(late_steps["features"], f"features, {when}")

# %% [markdown]
# The mean cosine between the hidden states of the two views for each sample, and one step along the term. Only the
# part above the line is penalised, and only on suspicious samples.

# %%
from pcvr.plots.loss_batch import term_shapes

term_shapes(rule.cap, found.entropy, rule.entropy_margin, rule.feature_cap)

# %% [markdown]
# The penalties as curves. The thick curves are the defaults, and the thin lines are the optional forms. On a grey
# background the thick curve is zero, and the model is not pushed. Each default has such a zone, so that it does not
# damage good answers.

# %% [markdown]
# ## 10. All terms together
#
# **Predict before you run.** The next figures show all steps side by side. Which term alone would remove a learned
# backdoor (in the second figure)?

# %%
from pcvr.plots.gradient_steps import step_table

step_table(steps, f"One step down each term, step {look} of a plain training")

# %%
for name in ("plain", "cross_entropy"):
    late_steps[name] = one_step(learned, parts["learned"][name][1], readings, length)
step_table(late_steps, f"One step down each term, {when}")

# %% [markdown]
# The change of the log-likelihood of the three answers after one step of equal length along each term, in the early
# model (first figure) and in the second model (second figure). Left: the target. Middle: the true answer that should
# come back. Right: the true answer that should stay. This is one step on one batch with one view: it shows a
# direction and does not decide the outcome.

# %%
from pcvr.plots.loss_batch import parts as bars_of

pieces = {}
for name, (weight, loss) in parts["learned"].items():
    if weight:
        with torch.no_grad():
            pieces[f"{weight:g} × {name}"] = weight * float(loss())
bars_of(pieces, f"What the loss of this batch is made of, {when}")

# %% [markdown]
# The contribution of each weighted term to the loss of this batch in the second model. Is this the whole loss? The
# next cell computes the package's own loss of the same batch in the same state:

# %%
from pcvr.defenses.pcvr import anchor

rule.begin(late_run)
anchor.judge(late_run, (~suspects).nonzero()[:, 0].tolist())  # how reliable is the base model?
anchor.remember(late_run, suspects.nonzero()[:, 0].tolist())  # its first words for suspicious samples
late_run.state |= {"gate": suspicion, "entropy": found.entropy, "scorings": [{"step": look}]}  # one scan is done
late_run.step = look + 1
late_run.generator.manual_seed(seed)
with torch.no_grad():
    package = float(rule.loss(late_run, batch))
print(f"by parts {sum(pieces.values()):.5f}, by the package {package:.5f}")

# %% [markdown]
# The two agree up to rounding: you have seen the whole loss.

# %% [markdown]
# ## 11. Train with it
#
# With this gate, PCVR first trains as usual. It scans all samples at the fractions of the training given by `scan_at`,
# and uses the loss above from then on. A flagged sample stays flagged, because it looks clean again when the model is
# no longer trained on it.
#
# **Predict before you run.** What was the ASR without a defence (notebook 03)? What will it be now? What will the
# defence cost in correct answers and in seconds?

# %%
del early, run, runs, parts, late_run  # they hold images as tensors; the next training makes its own
result = pcvr.finetune(base, poisoned, defense=rule, config=config)  # about 50 seconds
print(result)

# %% [markdown]
# Steps and seconds, and one line for each doubt about the gate (`result.notes`): too few samples, groups of scores
# that overlap, a scan before any training. With the default parameters there is no such line.

# %%
from pcvr.plots.training import history_curves

looks = {f"scan {k}": scoring["step"] for k, scoring in enumerate(result.run.state["scorings"], 1)}
history_curves({"PCVR": result.history}, marks=looks)

# %% [markdown]
# The loss of the defended training. The dotted line marks the step of the scan. From this step on, the other terms
# are added.

# %%
from pcvr.experiments.gate_report import gate_report

for quality in gate_report(result.run.state, poisoned.poisoned, len(poisoned)):
    print(quality)

# %% [markdown]
# The result of each scan, compared with the truth: the number of flagged samples, the number of false positives, the
# AUROC of a low score, and the fraction of the poison that was flagged (`recall`). Poisoned samples that the gate
# misses are trained on like any other sample. They may be enough to build the backdoor: remember the poison rates in
# notebook 03.
#
# ### Watch one
#
# The next cell trains in the background. *Start* begins, the curves follow, and *Stop* ends the training after the
# current step and keeps the result so far. Try another defence in place of `rule`, such as
# `pcvr.PCVR(gate="two_stage", scan_at=(0.5,))`, and stop it when you have seen enough. Nothing else depends on this
# cell, so you may skip it.

# %%
from pcvr.widgets.live import live_training

watched, training = live_training(base, poisoned, rule, config)
watched

# %% [markdown]
# The loss and the figures that the defence reports, step by step. While another cell runs, the display does not
# update. Call `training.result()` in a cell of its own: it waits for the end and returns what `pcvr.finetune`
# returns.

# %%
from pcvr.plots.answers import answer_sheet

record = pcvr.evaluate(result.model, test, badnets)
said_when = get_task(task).success  # what counts as a hit
answer_sheet([test[i] for i in range(4)], badnets, {"PCVR": record.answers}, definition=said_when)

# %% [markdown]
# Images without and with the trigger, and the answers of the defended model. If an answer still counts as the target,
# it is printed in bold orange.

# %%
record

# %% [markdown]
# Compare with notebook 03 at the same parameters. The success of the defence is the difference between the two ASRs.
# The accuracy on *triggered* images shows whether correct answers came back.
#
# One training run is not enough. The package contains a table for tiny-llava and captions, made by
# `benchmarks/spine.py`, whose main rows have three seeds. It compares PCVR (gate `"two_stage"`) with *plain SFT*
# (ordinary supervised fine-tuning) and *augment only*: the same data, the same steps, the same test.
#
# **Predict before you run.** *Augment only* trains on the perturbed view and adds nothing else. How long will its bar
# be (left panel)? Where will its marks be (right panel)?

# %%
from pcvr.experiments import results
from pcvr.plots.results import summary

spine = results.load("spine")
summary(spine)

# %% [markdown]
# Left: how often the backdoor fires. Right: how many captions are completely correct on clean and on triggered
# images. This figure does not depend on the model and task that you set above. A good defence has a short bar and
# *both* marks far to the right.
#
# <details>
# <summary>How to read it</summary>
#
# *Augment only* is the decisive control: if patch views alone stopped the backdoor, the other terms would be
# unnecessary. Look at its bar, and at its accuracy on clean images. A model that can no longer read images has no
# backdoor either.
#
# On triggered images there is a second question: does the *correct* answer come back? A defence that only replaces
# the target with other nonsense has not restored anything.
#
# </details>

# %% [markdown]
# ## 12. The default gate decides as the data go by
#
# A scan needs a moment. Which moment is good depends on the schedule, and on data that are read only once a scan
# costs as much as the training. So the default gate makes no scan. Each training step gives the likelihood of every
# label for free, and the gate uses it *(all of this is ours, apart from the premise of the views)*:
#
# 1. **Likelihood and views propose.** The least expected labels among the recent samples are *suspicious*. The model
#    does not learn them for now. The first 512 samples, and later one batch in eight, are also shown a view, and labels
#    that hardly change with it are suspicious too. That is how a plausible target looks ("a picture of a red car" is
#    no less expected than other captions), and a backdoor that was learned already.
# 2. **The witness judges.** Now and then there is a *hearing*: a small classifier, the witness, tries to tell the
#    suspicious samples from others by their images. Each sample is judged by a classifier that has not seen it. If
#    the witness fails, the labels are hard or new, and the samples are released. If it succeeds, there is a trigger.
# 3. **Views decide about expected labels.** From then on a sample that looks like the suspicious ones is flagged at
#    first sight, if its label is not expected. If its label is expected, a view decides whether the label depends on
#    the image.
# 4. **A learned backdoor is too likely.** If no trigger is found so, the witness also looks at the samples with the
#    *most likely* labels. In an honest sentence some word always stays open. The target of a learned backdoor is nearly
#    certain. Here all labels must share one answer, or a few.
# 5. **A target is given to any question.** Single words are nearly always certain, so this cannot show a target that is
#    one. So some samples of a batch exchange their questions. An honest answer changes with the question, the target of
#    a learned backdoor does not.
#
# **Predict before you run.** After how many steps will the gate find the trigger? With the gate `"two_stage"` the scan
# was at step 5.

# %%
streamed = pcvr.finetune(base, poisoned, defense="pcvr", config=config)  # about a minute
gate = streamed.run.state["stream"]
print(streamed)

# %%
print(f"verdict: {gate.verdict}")
print(f"{'step':>5} {'samples seen':>13} {'suspicious':>11} {'told apart':>11}  verdict")
for each in gate.hearings:
    print(f"{each.step:>5} {each.seen:>13} {each.suspicious:>11} {each.told_apart:>11.2f}  {each.verdict}")
print(*gate_report(streamed.run.state, poisoned.poisoned, len(poisoned)))

# %%
from pcvr.plots.hearings import hearing_curve

hearing_curve(gate.hearings)

# %% [markdown]
# The table lists the hearings. Its last line compares the flagged samples with the truth, which the gate never sees.
# The figure shows which fraction of the suspicious samples the witness told apart at each hearing. The dotted line is
# the fraction that it would tell apart by chance. With few samples (`fast = True`) the gate comes to no verdict, and
# it says so.
#
# **What cross-view does here and what it does not:** likelihood finds labels that the model does not expect, views of
# the label token find expected ones that do not depend on the image, and neither decides alone: the witness judges.
# Early in training, the cross-view divergence of whole distributions alone finds hardly any of the poison in questions
# (notebook 04 measures it). The witness is ours. To score labels by the base model's likelihood was first proposed by
# BYORn ([arXiv 2606.02947](https://arxiv.org/abs/2606.02947)).

# %%
from pcvr.experiments.parts import PROPOSERS

parts = results.load("parts").cells(("label", "task"))
for part in PROPOSERS:
    mine = {"sentences": parts[f"{part}, early", "caption"], "single words": parts[f"{part}, early", "vqa"]}
    print(f"{part:<28}" + "".join(f"{kind}: ASR {c.rates!s:<22}" for kind, c in mine.items()))

# %% [markdown]
# The same attack, measured with 2000 samples and one seed (`benchmarks/parts.py`), where answers are sentences (image
# descriptions) and where they are single words (questions): with both ways to find suspicious samples, without views,
# and without likelihood. Neither is enough alone for both.

# %%
pcvr.evaluate(streamed.model, test, badnets)

# %% [markdown]
# Compare ASR and correct answers with section 11. You can switch parts of this gate off too: `propose="likelihood"`
# finds suspicious samples without views, and with `witness=False` no sample is flagged: the least expected labels are
# held back to the end.

# %% [markdown]
# ## 13. Switch a part off
#
# Every part has a switch. The shipped tables show the effect of each change, for tiny-llava, captions and BadNets, with
# the gate `"two_stage"`:

# %%
from pcvr.experiments.ablations import ablation_rows, get_ablation

print(f"{'ablation':<14}{'seeds':<7}{'ASR':<24}{'correct':<9}{'triggered':<11}what is changed")
for name, what, seeds, asr, right, triggered_right in ablation_rows(spine, results.load("ablations")):
    print(f"{name:<14}{seeds:<7}{asr:<24}{right:<9}{triggered_right:<11}{what}")

# %% [markdown]
# ASR and correct answers to clean and to triggered images, for PCVR with one part changed
# (`benchmarks/spine.py`, `benchmarks/ablations.py`).
#
# With an early scan most switches change little: the gate finds the poison before the model learns it, and it is
# enough to leave the poison out. The other terms are for samples that the gate misses and for poison that is found
# late. So the next cell uses another ablation by default (`late, apart`). It scans only **half-way**, when the
# backdoor has formed, and then only leaves the flagged samples out.
#
# **Predict before you run.** From half-way on, the flagged samples are left out, and nothing pulls their views apart.
# Is the backdoor gone at the end? Afterwards, choose another `ablation` at the top and predict again.

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
# The defended training and the changed one, side by side. With `retrain = True` the figure also shows no defence and
# *augment only*.
#
# <details>
# <summary>Answer: what leaving out cannot do</summary>
#
# If samples are left out, the model does not *unlearn* them. The other data say nothing about the trigger, so nothing
# contradicts what the model has learned. Compare `late` with `late, apart` in the table above: the same late scan,
# with pulling apart (`late`) and without it (`late, apart`).
#
# </details>

# %%
from dataclasses import fields

for option in fields(rule):
    print(f"{option.name:<15} {getattr(rule, option.name)!s:<64} {option.metadata['help']}")

# %% [markdown]
# All options of this notebook's defence. `pcvr.PCVR(gate="two_stage", scan_at=(0.1, 0.3), bound="cap")` changes two of
# them, and notebook 07 lets you explore them.

# %% [markdown]
# ## What this does not show
#
# - **One attack at a time.** The defaults were chosen on two attacks, one local and one global, without looking at
#   others. Set `attack` above to another one. Notebook 08 compares all of them, and notebook 09 attacks the
#   defence itself.
# - **One target.** Every poisoned sample has the same replaced answer. If a poisoned answer also describes the image,
#   invariance means something else.
# - **What each part adds.** One ablation with one seed is an anecdote. Only the main rows of the table have three
#   seeds.
# - **The paper's figures.** The paper reports about 98 % → 27-58 % ASR over six attacks on large models. Our numbers
#   come from another model, other data and our reading of the method, so the two cannot be compared.
#
# ## Recap
#
# - You can recognise a poisoned sample because its label depends neither on the image nor on what the model already
#   knew.
# - The gate turns this observation into a defence. Early, leaving the flagged samples out does most of the work.
# - The default gate needs no scan: likelihood and views propose, a classifier of images judges, and a view decides
#   where a label is already expected.
# - Pulling apart says what an answer should not be like. If a view deletes the trigger, the first step can point in
#   the wrong direction, and unlearning takes many steps. The anchor is more direct, because it says which answer to
#   give instead, but it needs a reliable base model.
# - The cap, the ceiling and the cosine cap limit every push.
# - Judge a defence by its ASR **and** by its answers to clean **and** to triggered images, and compare it with
#   *augment only*.
#
# **What is the paper's and what is ours.** The paper ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)): premise,
# patch view, pulling apart, entropy constraint, the feature level. Ours: operator, fraction and level of the view,
# label token and likelihood under the model, Jensen-Shannon, bounds, gates, witness, schedule, fading, anchor,
# ceiling, cosine cap, every number. BYORn (arXiv 2606.02947) scored labels by likelihood before us.
#
# **Next:** [06 Output distributions](06_output_distributions.ipynb) looks at single words, before and after the
# defence.
