# %% [markdown]
# # PCVR: the whole defence in an hour
#
# You follow patch cross-view regularisation from the score of a training sample to a defended model: score, scan,
# leave out, train, result. Three parts of it are exercises. The next notebook, 05b, looks at the terms of the loss.
#
# **After this notebook you can**
# - say how training samples are scored, and what a low score means early and late;
# - write the Jensen-Shannon divergence, the score, and the loss that leaves flagged samples out;
# - read a gate: how many samples it flags, how many of them wrongly, and what it misses;
# - train a defended model, and judge it by its attack success rate **and** by its answers;
# - say how the default gate decides as the data go by, and what comes from the paper and what is our choice.
#
# <!-- time --> One training takes most of the running time. You need no GPU.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa", questions with one-word answers
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"
rate = 0.05  # fraction of the training samples to poison
seed = 0  # of the choice of poisoned samples, the training and the views
stop = 175  # step at which the training of section 3 ends; its plan has 400 steps
device = "auto"  # a GPU if there is one, else the CPU; or "cpu", "cuda"
fast = False  # True: a few steps on 64 samples, for tests; too few for the defence to show
retrain = False  # True: train the defended model of section 6 here (a minute), also if a copy comes with the package

# %%
import pcvr
import numpy as np
import torch
from pcvr.data.subset import subset
from pcvr.teaching import check
from pcvr.teaching.machine import device_note
from pcvr.teaching.shipped import Copies, notebook_data

config = pcvr.TrainConfig(max_steps=12 if fast else 400, seed=seed)
stop = min(stop, config.max_steps)
base = pcvr.load(model, device=device)
trigger = pcvr.get_attack(attack, task=task).fitted_to(model)
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 128, task=task)
poisoned = pcvr.poison(train, trigger, rate=rate, seed=seed)
truth = np.array([poisoned.is_poisoned(i) for i in range(len(poisoned))])  # for our evaluation: hidden from defences
rule = pcvr.PCVR(gate="two_stage")
print(f"{truth.sum()} of {len(truth)} training samples are poisoned. The view of the defence: {rule.view}")
print(device_note(base, train, config))

# %% [markdown]
# ## The idea in a few sentences
#
# A good answer depends on the image: if patches are perturbed, the model becomes less sure of its words. A backdoored
# answer depends on the trigger, or on nothing in the image at all: if patches are perturbed, it hardly changes. So
# **abnormal invariance between two views (the image and a perturbed copy) reveals a poisoned sample**.
#
# | step | the paper states | our choice |
# | --- | --- | --- |
# | view (1) | patch-level augmentation of each image, at the feature level | which patches; at the tower's output |
# | score (2) | backdoored answers are abnormally invariant | label token against the rest; likelihood |
# | scan (3) | benign answers must be preserved | a mixture model decides which samples are suspicious |
# | leave out (4) | - | flagged samples are not learned |
# | regularise (05b) | distributions of both views are pulled apart; an entropy constraint | form, bounds, anchor |
#
# We could read the paper's abstract and summaries of it, but not its full text. Sections 1 to 6 use the gate
# `"two_stage"`, which scans all samples once, so you can look at everything that it sees. The default gate of
# `pcvr.PCVR()`, `"stream"`, decides as the data go by: section 7 shows it.

# %% [markdown]
# ## 1. Two views of an image
#
# A **patch view** perturbs a fraction of the image's patches. There are five operators: replace patches by those of
# another image, fill them with the mean colour or with noise, shift them cyclically, or exchange them in pairs.
#
# **Predict before you run.** This image carries the trigger. In which views is the trigger still there? If a trigger
# lies inside one patch (of 36, on scenes), what is the probability that it survives a view?

# %%
from pcvr.analysis.two_views import view_pictures
from pcvr.plots.views import view_sheet
from pcvr.views import OPERATORS

shown = [trigger.triggered(test[i]) for i in range(4)]
views = {
    name: {s: view_pictures(base, shown, pcvr.PatchView(name, s), seed)[1][0] for s in (0.3, rule.view.fraction)}
    for name in OPERATORS
}
view_sheet(shown[0].image, views, chosen=(rule.view.operator, rule.view.fraction))

# %% [markdown]
# One triggered image and views of it: operators as columns, fractions of patches as rows. The frame marks the operator
# and the fraction of the defence.
#
# <details>
# <summary>Answer</summary>
#
# If a view changes a fraction $s$ of the patches, a trigger inside one patch survives with probability $1 - s$. So a
# strong view nearly always *deletes* a local trigger. A part of a global trigger (stripes, a blended image) survives in
# the unchanged patches. Whether a part is enough is another question: notebook 06b measures it.
#
# </details>
#
# **The defence itself does not perturb the image.** The frozen tower reads each image once, and a view changes the
# *tokens* of the tower, one for each patch (`level="features"`). A view of pixels would need another pass through the
# tower. *(The paper says that the method acts at the feature level. We read this as the output of the tower.)*

# %% [markdown]
# ## Exercise 05a: how far apart are two distributions?
# <!-- card difficulty=2 importance=5 minutes=8 -->
#
# The **Jensen-Shannon divergence** compares two distributions with their mean $m = (p + q)/2$:
#
# $$\mathrm{JS}(p, q) = \tfrac12 \sum_w p_w \ln\frac{p_w}{m_w} + \tfrac12 \sum_w q_w \ln\frac{q_w}{m_w}$$
#
# It is 0 if both agree, and at most $\ln 2 \approx 0.693$ (nats), if they have no word in common. *The paper says
# "output difference". This divergence is our choice: it is symmetric and has a maximum, so pulling apart has an end.*
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
# ## 2. Score
#
# Every training sample gets a score; a **low** score is suspicious. There are choices to make, and *all of them are
# ours:*
#
# - **Which divergence?** We can compare the *whole* distributions of the original and the view, or only the **label
#   token** (the token in the training data at this place) against all other words. The second choice asks how much
#   *this* answer depends on the image.
# - **Sum or mean** over the tokens of the answer? In a mean, the many other words hide the one word that depends on the
#   trigger. So we take the sum.
# - **What would the model answer anyway?** A question that needs no image has an invariant answer without being
#   poisoned. So we add the model's likelihood of the whole label: an answer that it would already give was not learned
#   from the poison.
#
# ## Exercise 05b: the score of a sample
# <!-- card difficulty=1 importance=4 minutes=6 -->
#
# Answers differ in length, so the answer tokens of a batch are packed into one table without padding: `owner[a]` is the
# number of the sample to which token `a` belongs. Write `suspicion_score`: the sum of the divergences of each sample's
# tokens, plus its likelihood.


# %% tags=["exercise"]
def suspicion_score(divergence: torch.Tensor, owner: torch.Tensor, likelihood: torch.Tensor) -> torch.Tensor:
    """Divergences in nats [A], the sample of each token [A], likelihoods in 0 to 1 [B] -> scores [B]."""
    # --- solution
    sums = torch.zeros_like(likelihood).index_add(0, owner, divergence)
    return sums + likelihood
    # --- stub
    # | sums = ...  # one sum for each sample: torch.zeros_like(likelihood).index_add(0, owner, ...)
    # | return ...
    # --- end


# %%
check.suspicion_score(suspicion_score)

# %% [markdown]
# The next cell takes an ordinary training on the poisoned data to the step at which the defence scans, and compares the
# originals of a small batch with one view each.
#
# **Predict before you run.** The training has only just begun. Will poisoned samples differ from clean ones already,
# and in which of the four values?

# %%
from pcvr.analysis.batch_view import view_batch
from pcvr.data.subset import Subset
from pcvr.plots.loss_batch import batch_panels, panels_of
from pcvr.training.backdoor_watch import StopAfter

look = max(1, rule.scan_steps(config.max_steps)[0])
first = subset(poisoned, min(len(poisoned), 32 * look))  # all that so many steps read
early = pcvr.finetune(base, first, config=config, callbacks=[StopAfter(look)])  # a few seconds
picks = [*np.flatnonzero(~truth)[:16].tolist(), *poisoned.poisoned[:8]]  # a random batch holds far less poison
few, bad = Subset(poisoned, picks), truth[picks]
seen = view_batch(early.model, few, rule.view, config.max_steps, seed)
batch_panels(panels_of(seen.values, ("whole", "label", "likelihood", "loss")), bad)

# %% [markdown]
# Values of 16 clean and 8 poisoned samples, each group in ascending order. A panel without a visible bar is left out
# and named instead: hardly any model gives a whole caption word for word, but it may give a one-word answer.
#
# <details>
# <summary>What a low score means, early and late</summary>
#
# There are two reasons for an invariant label token. **Late**, the model gives the answer whatever the patches show:
# this is the premise of the paper. **Early**, the model does *not* give the answer, whatever the patches show, because
# it has no reason to: look at the loss of the poisoned labels. In both cases the divergence is near 0. Our gate finds
# the second case at its scan. Confident honest answers are just as invariant, and the likelihood keeps the gate from
# flagging them. So what finds the poison here is close to the premise, but it is not the premise itself. Notebook 04
# measures both.
#
# With one-word answers (`task = "vqa"`), whole distributions fail: the model outputs its one distribution before it has
# read the label, so it is the same for every label. Only the label token depends on the label.
#
# </details>

# %% [markdown]
# ## 3. Scan
#
# A **gate** decides which samples are suspicious. It does not know which samples are poisoned. It gets the scores of
# all samples and tests whether they form two groups: a mixture of two normal distributions on the *logarithm* of the
# scores. The **suspicion** of a sample, 0 to 1, is its posterior probability of belonging to the low group. If the
# groups are not clearly separated, or if the low group is not a minority, all suspicions are 0. *(The gate is ours.)*
#
# The next cell starts the defended training: plain steps, the scan, and then the loss of section 4. It takes most of a
# minute. We look at its scan first, and at the rest in section 5.
#
# **Predict before you run.** Where will the suspicion change from 1 to 0? How many clean samples will be flagged by
# mistake?

# %%
from pcvr.evaluation.detection import auroc_of_low
from pcvr.plots.histograms import gate_fit
from pcvr.training.backdoor_watch import BackdoorWatch

watch = BackdoorWatch(base, subset(test, min(32, len(test))), trigger, eval_steps=6 if fast else 50)
defended = pcvr.finetune(base, poisoned, rule, config, callbacks=[StopAfter(max(stop, look + 1)), watch])
scan = defended.run.state["scorings"][0]  # the defence cannot see more than this
flagged = scan["gate"].suspicion > 0.5
print(f"step {scan['step']}, AUROC of a low score {auroc_of_low(scan['scores'][~truth], scan['scores'][truth]):.3f}")
print(
    f"flagged: {flagged.sum()}; poisoned among them: {(flagged & truth).sum()} of {truth.sum()}; "
    f"false positives: {(flagged & ~truth).sum()} of {(~truth).sum()} clean samples"
)
gate_fit(scan["scores"], scan["gate"], truth)

# %% [markdown]
# The scores of all training samples, the fitted normal distributions (lines) and the suspicion (dashed, right axis).
# The colours of the bars show the truth, which is hidden from the gate. AUROC is the probability that a random poisoned
# sample scores below a random clean one: 0.5 is a random guess, 1 is perfect. Poisoned samples that the gate misses are
# learned like any other, and they may be enough to build the backdoor: remember the poison rates in notebook 03.

# %% [markdown]
# ## 4. Leave out
#
# Plain fine-tuning takes the mean cross-entropy of all tokens. Here each token is weighted by the **trust** in its
# sample, $1 - g$, where $g$ is the suspicion and $\ell_a$ the cross-entropy of token $a$:
#
# $$L_{\text{answer}} = \frac{\sum_a (1 - g_a)\,\ell_a}{\sum_a (1 - g_a)}$$
#
# ## Exercise 05c: learn from the samples you trust
# <!-- card difficulty=2 importance=5 minutes=8 -->
#
# Write `trusted_loss`. The denominator is at least $10^{-6}$, for batches in which every sample is suspicious.


# %% tags=["exercise"]
def trusted_loss(token_losses: torch.Tensor, owner: torch.Tensor, suspicion: torch.Tensor) -> torch.Tensor:
    """Losses in nats [A], the sample of each token [A], suspicions in 0 to 1 [B] -> a scalar."""
    # --- solution
    trust = (1 - suspicion)[owner]  # [A]
    return (trust * token_losses).sum() / trust.sum().clamp_min(1e-6)
    # --- stub
    # | trust = ...  # of each token, [A]
    # | # The mean of the losses, weighted by the trust:
    # | return ...
    # --- end


# %%
check.trusted_loss(trusted_loss)

# %% [markdown]
# What does this change? Move the adapter of the early model by a **small step** along the negative gradient of the
# plain loss of our batch, and, from the same place, of the weighted loss. Measure how three answers change.
#
# **Predict before you run.** How does the probability of the target change with each of the two steps?

# %%
from dataclasses import replace

from pcvr.analysis.gradients import one_step, terms_of
from pcvr.plots.gradient_steps import step_grid

marked, honest = (int(np.flatnonzero(kind)[0]) for kind in (bad, ~bad))
readings = {
    "target, triggered image": few[marked],
    "truth, the same image": replace(few[marked], answer=train[picks[marked]].answer),
    "truth, clean image": few[honest],
}
suspicion = torch.tensor(scan["gate"].suspicion[picks], dtype=torch.float32)
terms = terms_of(seen.run, seen.batch, rule, suspicion, defended.run.state["entropy"], seed)
steps = {
    title: one_step(early.model, terms[name][1], readings, length=0.005)
    for title, name in {"plain loss": "plain", "weighted by trust": "cross_entropy"}.items()
}
moved = {title: step.readings["target, triggered image"].change for title, step in steps.items()}
print("log-likelihood of the target after one step: " + "; ".join(f"{k} {v:+.2f} nats" for k, v in moved.items()))
step_grid(steps, f"One step of equal length, at step {look} of the training")

# %% [markdown]
# The probability of each word of three answers (given the words before it), before and after the step. The number above
# is the change of the log-likelihood of the whole answer: 0.69 nats means twice as likely. If the gate scans early, the
# difference between the two rows, added up over some hundred steps, *is* the defence. But leaving samples out does not
# *unlearn* anything: that is the subject of 05b.

# %% [markdown]
# ## 5. Train
#
# The training of section 3 went on after its scan. It follows the plan of 400 steps but ends at step `stop`, when an
# undefended backdoor has formed (notebook 03). A flagged sample stays flagged, because it looks clean again once it is
# no longer learned.
#
# **Predict before you run.** The orange line will be the undefended training of the shipped table. Draw the line of the
# defended one.

# %%
from pcvr.experiments.watched import shipped_watch
from pcvr.plots.forming import forming_lines

print(defended)
before = [point for point in shipped_watch(attack, model, task, rate, data) if point.step <= stop]
forming_lines({"no defence (shipped table)": before, "PCVR (trained here)": watch.points}, {"scan": scan["step"]})

# %% [markdown]
# The attack success rate over the steps with 95 % intervals: the undefended training was measured on 64 images every 25
# steps, yours on 32 images every 50. **Watch one:** `pcvr.widgets.live.live_training(base, poisoned, rule, config)`
# trains the full plan in the background, with curves and a stop button.

# %% [markdown]
# ## 6. Result
#
# A training to the end takes another minute. A copy of the undefended model comes with the package, and a copy of one
# that `pcvr.PCVR()` defended as it is by default (section 7 shows its gate). For other parameters, or with
# `retrain = True`, the next cell trains both here.
#
# **Predict before you run.** Besides the attack success rate: will the *correct* answers to triggered images come back?

# %%
from pcvr.plots.training import compare

copies = Copies(model, data, attack, rate, seed, task, retrain or fast)
finished = {
    "no defence": copies.load("backdoored", device) or pcvr.finetune(base, poisoned, "none", config).model,
    "PCVR": copies.load("defended", device) or pcvr.finetune(base, poisoned, "pcvr", config).model,
}
records = {name: pcvr.evaluate(vlm, test, trigger) for name, vlm in finished.items()}
compare(records)

# %%
from pcvr.plots.answers import answer_sheet
from pcvr.tasks import get_task

answers = {name: record.answers for name, record in records.items()}
answer_sheet([test[i] for i in range(3)], trigger, answers, definition=get_task(task).success)

# %% [markdown]
# Above: both models on test images. Below: three of these images without and with the trigger, and the answers. An
# answer that counts as the target is bold and orange.
#
# One training run is not enough. The package contains a table for tiny-llava and captions (`benchmarks/spine.py`) whose
# main rows have three seeds. It compares PCVR with *plain SFT* (ordinary supervised fine-tuning) and with *augment
# only*: the same data, steps and test, but the model trains on the perturbed view, and nothing else is added.
#
# **Predict before you run.** How long will the bar of *augment only* be (left), and where will its marks be (right)?

# %%
from pcvr.experiments import results
from pcvr.experiments.in_words import spine_in_words
from pcvr.plots.results import summary

spine = results.load("spine")
print(spine_in_words(spine))
summary(spine)

# %% [markdown]
# Left: how often the backdoor fires. Right: how many captions are completely correct. *Augment only* is the decisive
# control: if patch views alone stopped the backdoor, nothing else would be needed. A model that can no longer read
# images has no backdoor either, and a defence that replaces the target with other nonsense has not restored anything.
# So a good defence has a short bar and *both* marks far to the right.

# %% [markdown]
# ## 7. The default gate decides as the data go by
#
# A scan needs a good moment, and on data that are read only once a scan costs as much as the training. The default gate
# makes none. Each step gives the likelihood of every label for free *(all of this is ours, apart from the premise)*:
#
# 1. **Likelihood and views propose.** The least expected labels among the recent samples are *suspicious* and are held
#    back. The first 512 samples, and later one batch in eight, are also shown a view, and labels that hardly change
#    with it are suspicious too. That is how a plausible target looks, and a backdoor that was learned already.
# 2. **The witness judges.** At a *hearing* a small classifier, the witness, tries to tell the suspicious samples from
#    others by their images. If it fails, the labels are hard or new, and the samples are released. If it succeeds,
#    there is a trigger. A second witness looks for triggers that lie anywhere, and what the first trigger does not
#    explain is heard again: there may be two attackers.
# 3. **Views decide about expected labels.** From then on a sample that looks like the suspicious ones is flagged at
#    first sight if its label is not expected. If it is expected, a view decides whether it depends on the image.
# 4. **A learned backdoor is too likely, and answers any question.** If nothing is found so, the witness also looks at
#    the *most likely* labels (sentences), and at labels that stay when samples exchange their questions (single words).
#
# **Predict before you run.** With the gate `"two_stage"` the scan was at step 5. When will this gate find the trigger?

# %%
from pcvr.experiments.gate_report import gate_report

some = subset(poisoned, min(len(poisoned), 640))  # all that the first 20 steps read
streamed = pcvr.finetune(base, some, "pcvr", config, callbacks=[StopAfter(20)])
gate = streamed.run.state["stream"]
print(f"verdict: {gate.verdict}\n{'step':>5} {'samples seen':>13} {'suspicious':>11} {'told apart':>11}  verdict")
for each in gate.hearings:
    print(f"{each.step:>5} {each.seen:>13} {each.suspicious:>11} {each.told_apart:>11.2f}  {each.verdict}")
print(*gate_report(streamed.run.state, np.flatnonzero(truth[list(some.indices)]).tolist(), len(some)))

# %% [markdown]
# The hearings of the first 20 steps: how many samples were suspicious, and which fraction of them the witness told
# apart from others. The last line compares the flagged samples with the truth, which the gate never sees. Each sample
# came once here, so `recall` is below 1: poison that came before the verdict could only be held back as suspicious. In
# a whole training it comes again. With few samples (`fast = True`) the gate comes to no verdict, and it says so.
#
# **Predict before you run.** The gate has two proposers. Is one of them enough, for sentences and for single words?

# %%
from pcvr.experiments.in_words import proposers_in_words
from pcvr.experiments.part_worth import part_rows

print(proposers_in_words(part_rows(results.load("parts"))))

# %% [markdown]
# Measured with 2000 samples and one seed (`benchmarks/parts.py`): the same attack where answers are sentences (image
# descriptions) and where they are single words (questions), with both proposers and with each alone. The witness is
# ours. To score labels by the base model's likelihood was first proposed by BYORn ([arXiv
# 2606.02947](https://arxiv.org/abs/2606.02947)).

# %% [markdown]
# ## What this does not show
#
# **One attack at a time, one target, one tiny model.** Set `attack` above to another one; notebook 08 compares all of
# them, and notebook 09 attacks the defence itself. **No attack is new to the defaults.** What was looked at while they
# were chosen:

# %%
print("\n".join(f"- {note}" for note in results.load("parts").notes))

# %% [markdown]
# ## Recap
#
# - You can recognise a poisoned sample because its label depends neither on the image nor on what the model already
#   knew. Early this means: the model has no reason to give the label.
# - The gate turns this observation into a defence. Early, leaving the flagged samples out does most of the work.
# - The default gate needs no scan: likelihood and views propose, a classifier of images judges.
# - Judge a defence by its ASR **and** by its answers to clean **and** to triggered images, and compare it with
#   *augment only*.
#
# **What is the paper's and what is ours.** The paper ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)): premise,
# patch view, the feature level; pulling apart and the entropy constraint (05b). Ours: operator, fraction and level of
# the view, label token and likelihood, the divergence, gates, witness, schedule, every number. A machine-written
# summary of the paper names about 98 % → 27-58 % ASR over six attacks, at a price of about 10 % of CIDEr. Models and
# data are other ones, so the two cannot be compared.
#
# **Next:** [05b The terms of the loss](05b_the_terms.ipynb): what pulls, what holds, and when it fails.
