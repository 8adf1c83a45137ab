# %% [markdown]
# # The terms of the loss: what pulls, what holds, and when it fails
#
# Notebook 05 left flagged samples out before the model learned them. Here the gate comes late: the backdoor is learned
# already, and the other terms of PCVR's loss have to remove it. You look at each term on one batch, and then at what
# each part is worth in a table of trainings.
#
# **After this notebook you can**
# - say what each term of the loss is for, which samples it uses, and when it stops pushing;
# - write the capped pull-apart loss and the entropy ceiling yourself;
# - explain why one step down a term can raise this term;
# - compare two attack success rates by their standard error, and read an ablation table with one seed;
# - say when the defence fails.
#
# <!-- time --> The cells train five steps. You need no GPU.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa", questions with one-word answers
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"
rate = 0.05  # fraction of the training samples to poison
seed = 0  # of the choice of poisoned samples, the training and the views
ablation = "late, apart"  # what retrain switches off: a key of pcvr.experiments.ablations.ABLATIONS
device = "auto"  # a GPU if there is one, else the CPU; or "cpu", "cuda"
fast = False  # True: small data, for tests
retrain = False  # True: train the ablation here (a minute)

# %%
import pcvr
import numpy as np
import torch
from pcvr.analysis.batch_view import view_batch
from pcvr.data.subset import Subset, subset
from pcvr.plots.loss_batch import batch_panels, panels_of
from pcvr.teaching import check
from pcvr.teaching.machine import device_note
from pcvr.teaching.shipped import Copies, notebook_data
from pcvr.training.backdoor_watch import StopAfter

config = pcvr.TrainConfig(max_steps=12 if fast else 400, seed=seed)
base = pcvr.load(model, device=device)
trigger = pcvr.get_attack(attack, task=task).fitted_to(model)
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 128, task=task)
poisoned = pcvr.poison(train, trigger, rate=rate, seed=seed)
truth = np.array([poisoned.is_poisoned(i) for i in range(len(poisoned))])
rule = pcvr.PCVR(gate="two_stage")
print(device_note(base, train, config))

# %% [markdown]
# ## 1. Leaving out is not unlearning
#
# Suppose that the gate scans only **half-way**, when the backdoor has formed. From then on, the flagged samples are
# left out.
#
# **Predict before you run.** Is the backdoor gone at the end of the training?

# %%
from pcvr.experiments import results
from pcvr.experiments.ablations import ablation_rows

tables = results.load("spine"), results.load("ablations")
for name, what, _, asr, _, back in ablation_rows(*tables):
    if name.startswith("late"):
        print(f"{what}:\n    ASR {asr}, correct answers to triggered images {back}")

# %% [markdown]
# Two trainings of the shipped tables (tiny-llava, captions, one seed). If samples are left out, the other data say
# nothing about the trigger, so nothing contradicts what the model has learned. Something has to push.
#
# ## 2. One batch, two models
#
# We look at one batch of 16 clean and 8 poisoned samples with two models: one **early** in training (step 5), and one
# in which the backdoor is **learned**. (The second one comes with the package. For other parameters, the first one
# stands in for it, and the text below does not fit.) The suspicion $g$ of a sample is taken as known: 1 for poisoned
# samples and 0 for clean ones, as a perfect gate would give it.

# %%
picks = [*np.flatnonzero(~truth)[:16].tolist(), *poisoned.poisoned[:8]]
few, bad = Subset(poisoned, picks), truth[picks]
suspicion = torch.tensor(bad, dtype=torch.float32)
look = max(1, rule.scan_steps(config.max_steps)[0])
some = subset(poisoned, min(len(poisoned), 32 * look))  # all that the first steps read: enough for an early model
early = pcvr.finetune(base, some, config=config, callbacks=[StopAfter(look)], check_trigger=False).model
shipped = Copies(model, data, attack, rate, seed, task).load("backdoored", device)
learned, when = (early, f"still at step {look}") if shipped is None else (shipped, "backdoor learned")
first, late = (view_batch(vlm, few, rule.view, config.max_steps, seed) for vlm in (early, learned))
reference = float(first.values["entropy"][~bad].mean())  # entropy of normal answers, as measured at a scan
lines = {"apart": {"cap of the divergence": rule.cap}, "cosine": {"cap of the cosine": rule.feature_cap}}
lines["entropy"] = {"ceiling": reference + rule.entropy_margin}
batch_panels(panels_of(late.values, ("apart", "likelihood", "entropy", "cosine"), lines), bad)

# %% [markdown]
# The model with the learned backdoor: what each term reads. Mean divergence between an image and its view; likelihood
# of the whole label; entropy of the answer; cosine between the hidden states of both views. The lines are the limits
# of the terms below. A panel without a visible bar is left out and named.

# %% [markdown]
# ## Exercise 05d: pull the views apart, up to a cap
# <!-- card difficulty=3 importance=5 minutes=10 -->
#
# For suspicious samples, the first term acts against the invariance itself. The more the two views agree, the larger
# the loss. ($d_i$ is the divergence between the two views of sample $i$.) Once they are a **cap** $c$ apart, it is
# zero:
#
# $$L_{\text{apart}} = \frac{\sum_i g_i \max(0,\; c - d_i)}{\max(\sum_i g_i,\; 10^{-6})}$$
#
# *Pulling distributions apart is the paper's idea. The cap and the gate are ours. Without a cap the term never stops
# pushing.*
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
# ## 3. Pull the views apart
#
# PCVR adds two things. The view is a fixed point: no gradient goes through it, so only the original moves. And **an
# answer that the model would not give needs no push**: the push on a sample is multiplied by the likelihood of its
# label (a constant here, too). So the term is strong where a backdoor fires and fades as it is unlearned.
#
# The cap may act on each sample (`bound="hinge"`, as in the exercise), on the mean of the batch (`"cap"`), or not at
# all (`"none"`). *(We do not know which of them the paper has, if any.)*
#
# **Predict before you run.** The cap is set to the median of the suspicious samples here. Which samples does each bound
# still push?

# %%
from pcvr.analysis.gradients import held_apart, one_step, pushes, terms_of
from pcvr.plots.gradient_steps import bound_pushes, step_grid, step_table

divergence = torch.tensor(late.values["apart"][bad])
middle = float(divergence.median())
bound_pushes(divergence.numpy(), pushes(divergence, suspicion[bad], middle), middle)

# %% [markdown]
# The hinge stops pushing a sample that has passed the cap. The cap on the mean stops for all samples at once or for
# none. Without a bound the push never stops.
#
# **Predict before you run.** Take one small step along this term alone, in the model whose backdoor is learned. Will
# the target become less likely? And with a step in the *opposite* direction, which pulls the views together?

# %%
from dataclasses import replace

marked, honest = (int(np.flatnonzero(kind)[0]) for kind in (bad, ~bad))
readings = {
    "target, triggered image": few[marked],
    "truth, the same image": replace(few[marked], answer=train[picks[marked]].answer),
    "truth, clean image": few[honest],
}
length = 0.005  # of the step, as a fraction of the norm of all adapter weights
rules = {"pull apart": rule, "pull together": replace(rule, direction="together")}
terms = {
    name: terms_of(late.run, late.batch, each, suspicion, reference, seed)["apart"][1] for name, each in rules.items()
}
steps = {name: one_step(learned, term, readings, length) for name, term in terms.items()}
step_grid(steps, f"One step of equal length, {when}")

# %%
held = one_step(learned, held_apart(late.run, late.batch, rule, suspicion, seed), readings, length)
for name, step in {"as training computes it next": steps["pull apart"], "view and push held": held}.items():
    change = step.loss[1] - step.loss[0]
    word = "rises" if change > 1e-6 else "falls" if change < -1e-6 else "stays"
    print(f"pull apart, {name:<30} the term {word}: {step.loss[0]:.4f} -> {step.loss[1]:.4f}")

# %% [markdown]
# The words of three answers before and after the step; the number above is the change of the whole answer's
# log-likelihood (0.69 nats: twice as likely). The lines below say what the step does to the term itself.
#
# <details>
# <summary>Two surprises (default parameters), and an explanation</summary>
#
# **A step down the term may raise it.** The gradient takes the view and the push as constants, and with both held the
# step does lower the term. But the moved model also reads the *view* in another way, and the push grows if the target
# becomes more likely. The term is a moving target.
#
# **Pulling apart may make the target more likely.** Look at the sign over the orange bars. Most views have *lost* a
# local trigger. Then the two distributions already differ: the model gives an honest answer to the view and the target
# to the original. Pulling the original *away from the view* pushes it towards the target, and pulling it *towards the
# view* pushes it towards an honest answer. For a global trigger see notebook 06b, section 3.
#
# So the default gate decides for each sample: an answer is pulled *apart* from its view as far as the view keeps the
# label, and *back* to the view's answer as far as the view lost it (`pull_back`, ours). The gate `"two_stage"` of this
# notebook only pulls apart. A first step does not decide the outcome: many steps, each with a new view, can still
# remove a learned backdoor. Sections 7 and 8 compare the directions.
#
# </details>

# %% [markdown]
# ## 4. The anchor: what to answer instead
#
# *(All of this is ours.)* Pulling apart says what an answer should *not* be like. The base model has not seen the
# training data, so it can show how an honest answer would begin. The **anchor** keeps the first word of the answers to
# suspicious samples close to the base model ($q_i$ is its distribution of the first word, $p_i$ the model's):
#
# $$L_{\text{anchor}} = r\,\frac{-\sum_i g_i \sum_w q_{i,w} \ln p_{i,w}}{\max(\sum_a (1 - g_a),\; 1)}$$
#
# The **reliability** $r$ asks whether the base model begins *unsuspicious* answers as their labels do: if it gives
# their first tokens with probability $a$ on average, $r = \max(0, 2a - 1)$.
#
# **Predict before you run.** Captions are sentences, and the base model of this workbook answers in short phrases. It
# answers questions in one word, as the data do. In which task is it reliable?

# %%
own = terms_of(late.run, late.batch, rule, suspicion, reference, seed)
reliability = late.run.state["trust"]
print(f"reliability of the base model: {reliability:.2f}")
if reliability == 0:
    print("so the anchor is off in this task; the step in section 6 shows its effect at a reliability of 1.")
    late.run.state["trust"] = 1.0
steps["anchor"] = one_step(learned, own["anchor"][1], readings, length)
late.run.state["trust"] = reliability

# %% [markdown]
# ## Exercise 05e: stay as sure as before
# <!-- card difficulty=2 importance=4 minutes=8 -->
#
# A model under such pushes can avoid the penalties if it becomes unsure of everything. *The paper has an
# "uncertainty-aware" entropy constraint that keeps normal answers from being over-suppressed. Its form here is our
# reading: a ceiling at the value measured at the first scan, with a margin $m$:*
#
# $$L_{\text{entropy}} = \frac{\sum_i (1 - g_i)\,\max(0,\; h_i - h_{\text{ref}} - m)}{\max(\sum_i (1 - g_i), 10^{-6})}$$
#
# Write `entropy_ceiling`.


# %% tags=["exercise"]
def entropy_ceiling(entropy: torch.Tensor, suspicion: torch.Tensor, reference: float, margin: float) -> torch.Tensor:
    """Entropies in nats [B], suspicions in 0 to 1 [B] -> a scalar."""
    # --- solution
    trust = 1 - suspicion
    excess = torch.relu(entropy - reference - margin)  # [B]
    return (trust * excess).sum() / trust.sum().clamp_min(1e-6)
    # --- stub
    # | excess = ...  # how far each sample is above the ceiling, never below 0
    # | # Their mean, weighted by the trust:
    # | return ...
    # --- end


# %%
check.entropy_ceiling(entropy_ceiling)

# %% [markdown]
# ## 5. The features, and the shape of all penalties
#
# The last term pulls apart one level below the words: on suspicious samples, the hidden states of the two views should
# not be nearly parallel. *Acting on features is the paper's idea; the cosine with a cap $c_f$ is ours:*
# $L_{\text{features}} = \sum_i g_i \max(0, \cos_i - c_f) / \sum_i g_i$.

# %%
from pcvr.plots.loss_batch import term_shapes

term_shapes(rule.cap, reference, rule.entropy_margin, rule.feature_cap)

# %% [markdown]
# The penalties as curves. The thick curves are the defaults, and the thin lines are the optional forms. On a grey
# background the thick curve is zero, and the model is not pushed. Each default has such a zone, so that it does not
# damage good answers. Why no *band* for the entropy? A model that learns becomes surer, and a floor would prevent that.

# %% [markdown]
# ## 6. All terms side by side
#
# **Predict before you run.** Which step alone lowers the target most? Which one brings the true answer back?

# %%
for name in ("cross_entropy", "entropy", "features"):
    steps[name] = one_step(learned, own[name][1], readings, length)
step_table(steps, f"One step down each term, {when}")

# %%
pieces = {name: weight * float(loss().detach()) for name, (weight, loss) in own.items() if weight}
print("the loss of this batch: " + " + ".join(f"{value:.4f} ({name})" for name, value in pieces.items()))
print(f"= {sum(pieces.values()):.4f} nats")

# %% [markdown]
# The change of the log-likelihood of three answers after one step of equal length along each term. Left: the target.
# Middle: the true answer that should come back. Right: the true answer that should stay. Below: what the terms
# contribute to the loss of this batch, with their weights. This is one step on one batch with one view: it shows a
# direction and does not decide the outcome. For that we need trainings.

# %% [markdown]
# ## 7. What each part is worth
#
# The package has a table of such trainings (`benchmarks/parts.py`, BadNets at 5 %, mostly one seed): PCVR with its
# default gate, with one part left out or exchanged. The gate begins to look **early** (at once), or **late**
# (half-way, when the backdoor is learned); answers are sentences or single words. Not all late rows of sentences were
# made with the same version of the gate: the anchor is off there, so *no anchor* should equal *all parts*, and it
# does not. So read no late difference as the worth of one part alone until these rows are made again.
#
# **Predict before you run.** 1. Early, which parts matter? 2. Late, which matter? 3. Late, sentences: what if views are
# always pulled *together*, the opposite of the paper's term?

# %%
from pcvr.experiments.part_worth import asr_in_words, direction_in_words, part_rows, restored_in_words
from pcvr.plots.part_worth import part_chart

rows = part_rows(results.load("parts"))
part_chart(rows, "asr")

# %%
part_chart(rows, "triggered_right")

# %% [markdown]
# A line for each change, with all parts on top. First figure: the attack success rate with its 95 % interval. Second
# figure: the correct answers to triggered images.
#
# ## Exercise 05f: more than chance?
# <!-- card difficulty=2 importance=4 minutes=8 -->
#
# Each row was tested on about 500 images. Two rates $p = h/n$ and $q = k/m$ differ by
# $z = (p - q) / \sqrt{r (1 - r) (1/n + 1/m)}$ **standard errors**, with the pooled rate $r = (h + k)/(n + m)$. If $r$
# is 0 or 1, return 0. Write `errors_apart`.


# %% tags=["exercise"]
def errors_apart(hits: int, n: int, other_hits: int, other_n: int) -> float:
    """Hits and images of two rates -> how far the first lies above the second, in standard errors."""
    # --- solution
    pooled = (hits + other_hits) / (n + other_n)
    if pooled in (0, 1):
        return 0.0
    error = (pooled * (1 - pooled) * (1 / n + 1 / other_n)) ** 0.5
    return (hits / n - other_hits / other_n) / error
    # --- stub
    # | pooled = ...  # the rate of both together
    # | # The difference of the rates, divided by its standard error (0 if there is none):
    # | return ...
    # --- end


# %%
check.errors_apart(errors_apart)

# %%
for moment in ("early", "late"):
    for of_task in ("caption", "vqa"):
        print(asr_in_words(rows, moment, of_task), end="\n\n")

# %% [markdown]
# The same in words, with the package's own function. A difference of many standard errors is no accident of the *test
# images*. It may still be an accident of the *seed*: see how much three seeds of *augment only* differ in notebook 05.
#
# ## 8. When it fails
#
# **Predict before you run.** Late, an attack success rate near 0 means that the target is gone. Did the *correct*
# answer come back?

# %%
for of_task in ("caption", "vqa"):
    print(restored_in_words(rows, "late", of_task))
    print(f"Directions: {direction_in_words(rows, 'late', of_task)}", end="\n\n")

# %% [markdown]
# <details>
# <summary>What the table says</summary>
#
# - **Early**, only the proposers matter (notebook 05): what the model never learns needs no term.
# - **Late**, more than the proposers decides, and what matters differs between sentences and single words. A part that
#   helps in one of the two may change nothing in the other. (See above: not all late rows can be compared.)
# - **A low attack success rate is not enough.** Pulling apart removes the target and puts nothing in its place. Where
#   the base model is not reliable (section 4), the anchor cannot help either: then the correct answer has to come from
#   the view.
# - **The direction** is told in the last lines, with the correct answers to triggered images. Section 3 says why
#   pulling together can work: a view without the trigger shows an honest answer. One seed and one local trigger do not
#   decide it.
#
# </details>
#
# Train one yourself: set `retrain = True` and choose an `ablation` of the gate `"two_stage"` at the top.

# %%
from pcvr.experiments.ablations import get_ablation
from pcvr.plots.training import compare

changed = get_ablation(ablation)
figure = None
if retrain:
    trials = {"PCVR": rule, f"ablation: {ablation}": changed.rule()}
    figure = compare(
        {n: pcvr.evaluate(pcvr.finetune(base, poisoned, r, config).model, test, trigger) for n, r in trials.items()}
    )
else:
    print(f"Set retrain = True at the top to train this: {changed.what}.")
figure

# %% [markdown]
# ## Recap
#
# - Leaving out does not unlearn. Early that does not matter, late it decides.
# - Pulling apart says what an answer should not be like. If the view has lost the trigger, its first step can point the
#   wrong way, and the term is a moving target.
# - The anchor says which answer to give instead, but it needs a reliable base model.
# - The cap, the ceiling and the cosine cap limit every push.
# - Judge a part by the attack success rate **and** by the answers to triggered images, and against its standard error.
#
# **What is the paper's and what is ours.** The paper ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)): pulling
# apart, entropy constraint, the feature level. Ours: Jensen-Shannon, bounds, fading, anchor, ceiling, cosine cap, the
# measurement of one step, every number.
#
# **Next:** [06 Output distributions](06_output_distributions.ipynb) looks at single words, before and after the
# defence.
