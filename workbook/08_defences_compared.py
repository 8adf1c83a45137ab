# %% [markdown]
# # Defences compared: what each one needs, achieves and costs
#
# There are many defences against backdoors, and each paper reports that its own works. In this notebook you choose by
# three questions instead: what do you have, what does the defence achieve under every attack, and what does it cost?
#
# **After this notebook you can**
# - say which defences are open to you, given what you have: the training, the weights, trusted samples;
# - read a table of defences: intervals, seeds, attacks that did not take, cells that were not run, and whose settings;
# - say how OrthoPurify finds the directions of a backdoor, and test whether they carry it;
# - say why a filter that reads the entropy of attention can miss triggers all over the image;
# - keep what papers report apart from what was measured here.
#
# <!-- time --> A short training in section 6 takes most of the running time. You need no GPU.

# %% tags=["parameters"]
model = "tiny-llava"  # for sections 5 and 6: an embedded model, a folder, or a hub id; the study is of tiny-llava
task = "caption"  # or "vqa", questions with one-word answers
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
rate = 0.05  # fraction of the training samples to poison, in sections 5 and 6
seed = 0  # of the choice of poisoned samples and the trainings
device = "auto"  # a GPU if there is one, else the CPU; or "cpu", "cuda"
fast = False  # True: 3 steps on 64 samples, for tests; too few for any attack to take

# %%
import numpy as np

import pcvr
from pcvr.data import Subset
from pcvr.experiments.standings import duels, main_sheet, progress, standings, unbeaten
from pcvr.plots.training import compare
from pcvr.teaching import check
from pcvr.teaching.shipped import Copies, notebook_data

sheet = main_sheet(task)
found = standings(sheet)
print(progress(sheet))

# %% [markdown]
# ## 1. What do you have?
#
# A defence that needs something you do not have is no defence for you. Who fine-tunes a model on data from the web runs
# the training, but may have no sample to trust. Who downloads an adapter has weights, but not the data. Who calls a
# service has questions and answers only.
#
# **Predict before you look.** You download an adapter. You have the base model and fifty images that you took yourself.
# How many of the defences in this table are open to you: more or fewer than to the person who trained the adapter?

# %%
from pcvr.experiments.access import ACCESS, NOT_BUILT
from pcvr.experiments.whole_study import origin
from pcvr.plots.access import decision_picture

for row, access in ACCESS.items():
    print(f"{row:<22} settings: {origin(row):<10} {access.idea}")
print(f"named only, since their papers were not to be had in full: {', '.join(NOT_BUILT)}")
decision_picture()

# %% [markdown]
# Four questions, from top to bottom, and the defences that each answer leads to. Whoever has more can use all boxes
# whose needs they have. Whoever runs the training and trusts some samples can use every defence.
#
# **Whose settings?** A rival with bad settings loses, and that says nothing about the rival. So each row says where its
# settings are from:
#
# | settings | what it means |
# | --- | --- |
# | its paper | the paper's or its public code's, as far as we know them |
# | ours | the source names none that fit here, or the defence is ours; we chose them |
# | tuned | the best of three settings, chosen on BadNets and SIG with validation images; a row of its own |
#
# Rows that say "tuned" appear once the tuning has been run. If the best of the three settings is the paper's own, there
# is no second row. PCVR had more help than any rival: the weights of its loss were chosen on the same two attacks, but
# the thresholds of its gate were set while we looked at further attacks (README, *Defences*).
#
# *Each paper's: the idea and the formulas of its defence. Ours: the code of every defence, written from the papers'
# definitions, and every number in sections 2 to 6. BYORn scored labels by the base model's likelihood before PCVR did.*
#
# ## 2. Every attack
#
# **Predict before you run.** Choose two rows, one that trains and one that repairs afterwards. For which of the six
# triggers do you expect them to fail? BadNets is a patch. Blended, SIG, WaNet and FTrojan change the whole image.
# Dual-Key needs a patch and a word.

# %%
from pcvr.plots.standings import attack_panels

attack_panels(found, sheet.title)

# %% [markdown]
# Attack success for each defence (rows) and attack (panels), with the 95 % Wilson interval of each run. Each seed has
# its own mark. A hollow mark at the left edge was not run.
#
# <details>
# <summary>How to read it</summary>
#
# - **Look at the row `none` first.** If it is below 90 %, the attack did not take. The panel then says so, its marks
#   are grey, and no low rate in it counts for a defence.
# - **Zero hits are not zero.** With no hit in 512 images, a rate of 0.6 % is still plausible.
# - **Seeds are never pooled.** The interval of one run covers the choice of test images. It does not cover another
#   choice of poisoned samples. Rows with one mark have one seed.
# - **Read down, then across.** A defence that holds in one panel may fail in the next. The worst panel of a row is what
#   an attacker chooses.
#
# </details>

# %% [markdown]
# ## 3. The price
#
# A defence costs correct answers, and time. The next figure shows each row at its **worst** attack, since an attacker
# chooses the attack. Only attacks that took count.
#
# **Predict before you run.** Which costs more time: a filter that trains twice, a loss with a second forward pass, or
# a repair on a few samples?

# %%
from pcvr.plots.standings import frontier_picture, price_in_words

figure = frontier_picture(found, sheet.title)
for each in unbeaten(found):
    print(f"no other defence beats it in all three: {price_in_words(each)}")
if not unbeaten(found):
    print("No row can be named yet: the store lacks runs for each defence.")
figure

# %% [markdown]
# Attack success at the worst attack, against correct clean answers (left) and the time of training (right), both
# relative to no defence. The correct answers are those under the attack that costs most of them. Lines are 95 %
# intervals. Rows in colour are not beaten by any other row in all three measures; `none` and `pcvr` always have a
# colour. A hollow mark was not run against all attacks, so its worst attack may be missing.
#
# <details>
# <summary>How to read it</summary>
#
# - The difference in correct answers is **paired**: both models answered the same images, so the interval is narrower
#   than that of two separate rates.
# - "Not beaten" is not "good". A row that stops no attack but costs nothing is not beaten either.
# - Times are of runs that shared a machine with others. Take a tenth more or less for equal. `strip` and `cleansight`
#   act on each answer: the table in section 4 has the time of an answer too.
#
# </details>
#
# **Is it more than chance?** The next cell compares PCVR with every row, attack by attack, on the same test images
# (exact McNemar test, adjusted by Holm over the attacks). "Undecided" means that the difference may be chance.

# %%
compared = duels(sheet)
for duel in compared:
    print(f"attack success of pcvr {duel}")
print(f"pcvr shares runs with {len(compared)} other rows for each defence under attacks that took.")

# %% [markdown]
# ## 4. The table, filtered by what you have

# %%
from pcvr.widgets.standings import league_explorer

box, controls = league_explorer({name: standings(main_sheet(name)) for name in pcvr.TASKS}, task)
box

# %% [markdown]
# The same figures as a table. The check boxes are what you have: rows that need anything else disappear. With *worst of
# those that took*, a row shows its highest attack success, its largest loss of correct answers (under the attack that
# is named there), and the median of its times.
#
# **Try this**
#
# - Leave only *some samples that you trust*. What is left, and what does one answer cost?
# - Sort by correct answers lost. Where do rows with a low attack success stand?

# %% [markdown]
# ## Exercise 08a: the safest defence
# <!-- card difficulty=3 importance=5 minutes=7 -->
#
# Write `safest_defence`. `undefended` are the attack success rates without a defence, `[A]`, and `defended` those
# with D defences, `[D, A]`, all from 0 to 1. Return the row of the defence whose *worst* attack is the least bad. Two
# rules of this notebook count: attacks below 0.9 without a defence did not take and say nothing; and NaN means that a
# case was not run, so a row with a gap at an attack that took cannot be called safe. If no row is left, return -1.


# %% tags=["exercise"]
def safest_defence(undefended: np.ndarray, defended: np.ndarray) -> int:
    """Rates without [A] and with defences [D, A] -> the row with the lowest maximum, or -1."""
    # --- solution
    worst = defended[:, undefended >= 0.9].max(1)  # NaN if one of them is
    return int(np.nanargmin(worst)) if np.isfinite(worst).any() else -1
    # --- stub
    # | took = ...  # which attacks count, [A]
    # | worst = ...  # the highest rate of each row among them, [D]
    # | return ...
    # --- end


# %%
check.safest_defence(safest_defence)

# %% [markdown]
# ## 5. Inside a repair: OrthoPurify's angles
#
# You received an adapter. It changes each weight matrix by $\Delta W_{bd}$.
# [OrthoPurify](https://arxiv.org/abs/2610.09941) asks: which of the directions that this change *reads* would ordinary
# training not read?
#
# 1. Train the base model for a few steps on trusted samples: $\Delta W_{pb}$, the *pseudo-benign* change.
# 2. Take the top $k = 10$ right singular vectors of both: $V_{bd}$ and $V_{pb}$.
# 3. The singular values of $V_{bd}^\top V_{pb} = P \cos(\theta)\, Q^\top$ are the cosines of the **principal angles**.
# 4. Directions beyond 50 degrees, $D = V_{bd} P_{\theta > 50}$, are removed: $W = W_{bd} - \Delta W_{bd} D D^\top$.
#
# *The paper's: all of this. Ours: we take the most steps that it names (2 to 16), and the reference starts from the
# same untrained factors as the adapter. With other ones nearly all angles are large.*
#
# **Predict before you run.** One adapter was trained on clean data, the other on data with 5 % poison. Both were
# trained for the same number of steps. Where do you expect more large angles?

# %%
from pcvr.analysis.adapter_angles import PARTS, adapter_part, benign_reference, principal_angles
from pcvr.plots.adapter_angles import angles_picture
from pcvr.teaching.machine import device_note

base = pcvr.load(model, device=device)
train, test = notebook_data(data, train=64 if fast else 2000, test=8 if fast else 48, task=task)
trusted = pcvr.open_data(data, split="validation", n=16 if fast else 64, task=task) if data == "scenes" else train
config = pcvr.TrainConfig(max_steps=3 if fast else 100, seed=seed)
patch = pcvr.get_attack("badnets", task=task).fitted_to(model)
bad = pcvr.poison(train, patch, rate=rate, seed=seed)
copies = Copies(model, data, "badnets", rate, seed, task)
received = {
    name: copies.load(name, device) or pcvr.finetune(base, some, "none", config).model
    for name, some in {"clean": train, "backdoored": bad}.items()
}
reference = benign_reference(base, Subset(trusted, range(min(64, len(trusted)))), seed, steps=2 if fast else 16)
print(device_note(base, train, config))
angles_picture({f"{name} adapter": principal_angles(each, reference) for name, each in received.items()})

# %% [markdown]
# The principal angles of every adapted matrix (rows) against the benign reference. Orange triangles beyond the dashed
# line are the directions that OrthoPurify removes.
#
# <details>
# <summary>How to read it</summary>
#
# - Compare the two titles. If they hardly differ, the angles alone do not tell you *whether* there is a backdoor. The
#   method does not claim that: it is a repair, not a detector.
# - A reference of a few steps on a few samples knows only a part of what honest training learns. So honest directions
#   lie beyond 50 degrees too, and removing them can cost correct answers.
#
# </details>
#
# **Predict before you run.** The next cell evaluates the backdoored adapter three times: as received, without the
# removed directions, and with *only* them. If the backdoor lives in these directions alone, what should the third bar
# show?

# %%
trials = {"as received": pcvr.evaluate(received["backdoored"], test, patch)}
for part in PARTS:
    with adapter_part(received["backdoored"], reference, part):
        trials[part] = pcvr.evaluate(received["backdoored"], test, patch)
compare(trials)

# %% [markdown]
# Attack success (left) and correct answers (right) of the whole adapter and of its two parts.
#
# <details>
# <summary>How to read it</summary>
#
# - If the first bar is low, the attack did not take, and the other two bars say nothing. (That is so with `fast=True`.)
# - If the second bar is low, the removed directions were *necessary* for the backdoor. Look at the correct answers to
#   see what else went with them.
# - If the third bar is high, they are *sufficient* too. If it is low, the backdoor needs both parts, and "the
#   direction of the backdoor" is too simple a picture of it.
#
# </details>

# %% [markdown]
# ## Exercise 08b: principal angles
# <!-- card difficulty=3 importance=4 minutes=7 -->
#
# Write `principal_angles`. It takes two changes of a matrix, each `[out, in]`, and returns the `k` principal angles
# between what they read, in degrees, ascending. `np.linalg.svd(m)` returns `U`, the singular values, and `V`
# *transposed*.


# %% tags=["exercise"]
def principal_angles_of(received: np.ndarray, benign: np.ndarray, k: int) -> np.ndarray:
    """Two changes [out, in] -> the k principal angles of their top right singular vectors, degrees, ascending."""
    # --- solution
    mine, theirs = np.linalg.svd(received)[2][:k], np.linalg.svd(benign)[2][:k]  # [k, in]
    cosines = np.linalg.svd(mine @ theirs.T, compute_uv=False)  # [k], falling
    return np.rad2deg(np.arccos(np.clip(cosines, 0, 1)))
    # --- stub
    # | mine = ...  # the top k right singular vectors of `received`, as rows [k, in]
    # | theirs = ...
    # | cosines = ...  # the singular values of all products [k, k]
    # | # By rounding, a cosine can be a little above 1.
    # | return ...
    # --- end


# %%
check.principal_angles(principal_angles_of)

# %% [markdown]
# ## 6. Where a filter fails: BYE's entropy
#
# [BYE](https://arxiv.org/abs/2505.16916) ("Believe Your Eyes") reads the attention that the last token of the prompt
# pays to the image tokens. A trigger draws this attention to itself, so its **entropy** falls. BYE drops the samples
# with low entropy, and trains again.
#
# How low must the entropy be? Suppose that a share $s$ of the attention lies on the $m$ tokens of the trigger, of $I$
# image tokens in all. The entropy is highest if the attention is even within the trigger and even outside of it:
#
# $$H \le -s \ln s - (1 - s) \ln(1 - s) + s \ln m + (1 - s) \ln(I - m)$$
#
# **Predict before you run.** A patch touches one token. SIG's stripes touch all of them. What does the bound say about
# each, if the trigger draws *all* attention?

# %%
from pcvr.analysis.attention_spread import attention_spread, image_tokens, touched_tokens
from pcvr.plots.attention_spread import bound_picture, entropy_panels

waves = pcvr.get_attack("sig", task=task)
tokens = image_tokens(base, test)
touched = {
    attack.name: touched_tokens(test[0].image, attack.triggered(test[0]).image, tokens) for attack in (patch, waves)
}
bound_picture(touched, tokens)

# %% [markdown]
# The highest possible entropy (1: even attention) over the share of attention on the trigger. A patch that draws much
# attention forces the entropy down. A trigger on all tokens forces nothing. (A model whose image tokens have no place,
# such as one with a Q-Former, is drawn as if each token stood for an equal part of the image.)
#
# So the bound says where BYE *can* work. Whether it does is a question for the trained model: does a patch draw enough
# attention at all? The next cell measures it: one backdoor from section 5, and one with SIG, trained here.

# %%
striped = pcvr.poison(train, waves, rate=rate, seed=seed, model=base)
fooled = pcvr.finetune(base, striped, "none", config).model
for copy, attack in ((received["backdoored"], patch), (fooled, waves)):
    took = pcvr.evaluate(copy, test, attack)
    print(f"{attack.name}: {took.hits} of {took.counted} triggered images give the target")
few = range(min(600, len(train)))
spreads = {
    attack.name: attention_spread(copy, Subset(some, few), some.poisoned)
    for copy, some, attack in ((received["backdoored"], bad, patch), (fooled, striped, waves))
}
for name, spread in spreads.items():
    print(f"{name}: {spread}")
entropy_panels(spreads)

# %% [markdown]
# The entropy of clean (blue) and poisoned (orange, hatched) training samples, a row for each attack and a panel for
# each layer. AUROC says how well a *low* entropy tells the poisoned samples: 1 is perfect, 0.5 is chance, and **below
# 0.5 the poisoned samples have the higher entropy**. "Read" marks the layers that BYE would use.
#
# <details>
# <summary>How to read it</summary>
#
# - **The patch.** Look for a layer in which the orange bars lie on the left. BYE works only if it reads that layer. It
#   reads layers whose entropies have two modes, and it does not know which modes are poison: clean samples can have two
#   modes too.
# - **The stripes.** The bound is 1, so nothing forces the orange bars to the left. If they lie on the *right*, a filter
#   that drops low entropies drops clean samples and keeps the poison.
# - **A tiny model** has few layers and few image tokens. This is a result about it, not about BYE at seven billion
#   parameters. The next section has what was reported there.
#
# </details>

# %% [markdown]
# ## Exercise 08c: the bound
# <!-- card difficulty=2 importance=3 minutes=6 -->
#
# Write `entropy_bound`: the right side of the inequality above, divided by its maximum $\ln I$. Take care of $s = 0$
# and $s = 1$: $0 \ln 0$ counts as 0. (`scipy.special.xlogy(x, y)` is $x \ln y$ with this rule.) You may assume $m <
# I$.

# %%
from scipy.special import xlogy


# %% tags=["exercise"]
def entropy_bound(share: float, on: int, tokens: int) -> float:
    """A share of the attention on `on` of `tokens` tokens -> the highest entropy, as a fraction of ln(tokens)."""
    # --- solution
    split = -xlogy(share, share) - xlogy(1 - share, 1 - share)
    inside, outside = share * np.log(on), (1 - share) * np.log(tokens - on)
    return (split + inside + outside) / np.log(tokens)
    # --- stub
    # | split = ...  # the entropy of the two shares
    # | inside = ...  # even attention on the trigger's tokens
    # | outside = ...
    # | return ...
    # --- end


# %%
check.entropy_bound(entropy_bound)

# %% [markdown]
# ## 7. What papers report
#
# The next figure has no number of ours. The models are thousands of times larger, and data, attacks and
# training differ, so **do not put these bars beside those above**. They show what the authors of each method found, and
# what they found for older methods.
#
# **Predict before you look.** The paper on TCAP compared its filter with BYE under five attacks. Under which of them
# does BYE work there, by the bound of section 6?

# %%
from pcvr.plots.reported import reported_picture

reported_picture()

# %% [markdown]
# Left: attack success after the defence, from the least to the greatest reported value. The lines *clean fine-tuning*,
# *fine-pruning*, *ANP* and *CLP* are from the paper on OrthoPurify, and *layers compared without regions* from the
# paper on RACER: each is a comparison by the authors of a rival. Right: F1 of two filters, one attack a row.
#
# <details>
# <summary>How to read it</summary>
#
# - Who measured? A paper's own method is tuned by people who want it to work. The methods that it compares with are
#   not. The same holds for the tables of this workbook: PCVR is ours.
# - What is missing? None of the papers that we could read gives seeds or intervals, and few tested an attacker who
#   knows the defence. OrthoPurify's authors report that one of their own such attackers gets past its defaults.
# - One source here is weaker than the others: the range of PCVR's paper is from a machine-written summary.
#
# </details>
#
# ## What this does not show
#
# - **One model, drawn scenes.** The main table is of tiny-llava. An order of defences here need not hold elsewhere.
# - **Attackers who ignore the defence.** A defence that wins here may fall to somebody who has read its paper.
# - **Our code of others' methods.** We wrote each rival from its definition. A mistake of ours is counted against it.
#   Each defence's docstring says what differs from its paper: `help(pcvr.defenses.BYE)`.
#
# ## Recap
#
# - First ask what you have. It decides more than any table.
# - Judge a defence by its worst attack, next to the undefended run, the correct answers and the time.
# - Whose settings a row has is part of the result.
# - A repair can be tested by what it removes: evaluate the adapter without it, and with only it.
# - A filter works where its signal is forced, and may invert where it is not.
#
# <!-- next --> takes the side of an attacker who has read all this.
