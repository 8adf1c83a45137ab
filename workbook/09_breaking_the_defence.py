# %% [markdown]
# # Breaking the defence: attackers who know it
#
# A defence that was only tested against attackers who ignore it has not been tested. In this notebook the attacker
# reads notebook 05 first. You see what such attackers change, train against one of them, and write one yourself.
#
# **After this notebook you can**
# - name what an attacker can change (image, label, covers, amount, order), and which assumption of the defence each
#   change attacks;
# - read attack success together with "did the attack take without a defence?", and say why one without the other is
#   worth little;
# - measure whether a backdoor fires on triggers near its own;
# - say what "the defence holds" means after a fixed list of attackers, and what it does not mean.
#
# <!-- time --> Two short trainings take most of the running time, and the check of the last exercise makes two more.
# You need no GPU.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa", questions with one-word answers
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
start = "sig"  # the attack that the attacker starts from; some attackers have only one
attacker = "covers: the whole trigger"  # a name from section 1; not one that arranges the order of the data
rate = 0.05  # fraction of the training samples to poison
seed = 0  # of the choice of poisoned samples, the training and the views
device = "auto"  # a GPU if there is one, else the CPU; or "cpu", "cuda"
fast = False  # True: 12 steps on 64 samples, for tests; too few for any attack to take

# %%
import numpy as np

import pcvr
from pcvr.experiments.attackers import ATTACKERS
from pcvr.teaching import check
from pcvr.teaching.machine import device_note
from pcvr.teaching.shipped import Copies, notebook_data

config = pcvr.TrainConfig(max_steps=12 if fast else 100, seed=seed)
base = pcvr.load(model, device=device)
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 96, task=task)
names = [name for name, each in ATTACKERS.items() if task in each.tasks]
print(f"{len(names)} attackers who know the defence; {len(test)} test images")
print(device_note(base, train, config))

# %% [markdown]
# ## 1. What an attacker can change
#
# The attacker of this workbook controls some training samples, and nothing else. Against the default gate of PCVR
# (notebook 05, section 7) they have these levers:
#
# | the defence assumes | the attacker answers |
# | --- | --- |
# | labels of poisoned samples are unexpected, or repeat | a plausible target, several targets, a true part |
# | the label does not change when patches change | covers that break this invariance; poison on patch views |
# | poisoned images have something in common that others lack | covers with the trigger; a trigger in the text |
# | enough poison comes early enough to be noticed | a low rate; poison late in each pass over the data |
#
# *The paper's: the premise of invariance. Ours: the list of attackers, and every number here. Which adaptive attackers
# the paper tried, if any, we could not read.*

# %%
from pcvr.plots.attackers import poison_gallery

shown = {
    name: ATTACKERS[name].attack("badnets", task)
    for name in ("poison on patch views", "covers: views of the trigger", "covers: the whole trigger", "many copies",
                 "target in front")
}  # fmt: skip
for name in names:
    print(f"{name:<30} {ATTACKERS[name].what}")
poison_gallery(test[1 % len(test)], shown)

# %% [markdown]
# One image as five attackers use it; each line is an attacker. A *cover* is a training sample with a part of the
# trigger, or all of it, and the **true** answer. The last image of each line is what the attacker shows to the trained
# model.
#
# **Predict before you go on.** Which of these five makes the attack itself weaker, even without a defence? Why?
#
# <details>
# <summary>Answer</summary>
#
# The covers with the whole trigger: half as many samples as the poisoned ones teach the true answer for the same
# trigger. The model can satisfy both only by chance or by memory, so the trigger fires less often. Poison on patch
# views can be weaker too: at training time the trigger never comes without a perturbed image. An attacker always pays
# for hiding, and a table that shows only the defended attack success does not show this price.
#
# </details>

# %% [markdown]
# ## 2. One attacker, live
#
# Two short trainings on the same poisoned data, without a defence and with PCVR (`attacker` and `start` at the top
# choose the case).
#
# **Predict before you run.** Write down three numbers: attack success without a defence, attack success with PCVR, and
# how many of the cover samples the gate flags although their answers are true.

# %%
poisoned = ATTACKERS[attacker].poison(train, start, rate=rate, seed=seed, model=base)
trials, trained = {}, {}
for name in ("none", "pcvr"):
    trained[name] = pcvr.finetune(base, poisoned, name, config)
    trials[name] = pcvr.evaluate(trained[name].model, test, poisoned.attack)

# %%
from pcvr.plots.training import compare

compare(trials)

# %% [markdown]
# Attack success and correct answers, without a defence and with PCVR, after the same number of steps.

# %%
from pcvr.plots.hearings import hearing_curve

gate = trained["pcvr"].run.state["stream"]
flagged = set(np.flatnonzero(gate.flagged))
covers = {i for part in poisoned.manifest.covers.values() for i in part}
clean = set(range(len(poisoned))) - set(poisoned.poisoned) - covers
for name, group in {"poisoned": set(poisoned.poisoned), "covers": covers, "others": clean}.items():
    print(f"{name:<9} {len(flagged & group):>4} of {len(group):>4} flagged")
hearing_curve(gate.hearings)

# %% [markdown]
# What the witness of the gate said while the data went by. A cover sample has a true answer. To flag it costs a little
# utility; not to flag it costs nothing.
#
# <details>
# <summary>Why covers do not help much</summary>
#
# The gate proposes samples by their **labels**: are they unexpected, or the same whatever the image shows? Covers have
# honest labels, so they are not proposed. The witness then asks whether the proposed samples can be told from others
# by their images. Covers make that harder, since some of the others have the trigger too. But they would have to be as
# many as the poisoned samples to hide them, and then the trigger no longer decides the answer: the attack weakens
# itself.
#
# </details>

# %% [markdown]
# ## 3. Every attacker, measured
#
# The same comparison with 400 steps and 512 test images, from the shipped study. A case that was not run says so.

# %%
from pcvr.experiments.attackers import attempts
from pcvr.experiments.whole_study import best, shipped
from pcvr.plots.attackers import attempts_picture

achieved = attempts(shipped().records(), best())
mine = [each for each in achieved if each.task == task]
print(f"{sum(each.hits is not None for each in mine)} of {len(mine)} cases of this task were run; PCVR loses:")
for each in mine:
    if each.row == "pcvr" and each.got_through:
        print(f"    {each.attacker}, starting from {each.attack}: attack success {each.rate}")
attempts_picture(mine)

# %% [markdown]
# Attack success of each attacker on tiny-llava, with 95 % confidence intervals. The dashed line marks 10 %. To go on
# with the study: `pcvr study benchmarks/study.py --jobs 2 --store pcvr/experiments/results/study`.
#
# <details>
# <summary>How to read it</summary>
#
# - Look at the undefended mark first. If it is far from 100 %, the attack did not take, and a low rate under a defence
#   says nothing.
# - One seed is one draw of the poisoned samples and one training. An interval of 512 test images does not cover
#   that.
# - The list is ours. "The defence holds against the list" is a statement about the list.
#
# </details>

# %% [markdown]
# ## Exercise 09a: what an attempt shows
# <!-- card difficulty=2 importance=5 minutes=8 -->
#
# Write `verdict` for one attempt: `plain` hits without a defence and `defended` hits with it, in `n` images each. It
# returns one of four words. `"did not take"`: less than 90 % without a defence. Otherwise look at the 95 % interval
# of the defended rate: `"got through"` if all of it is above 10 %, `"held"` if all of it is below 10 %, `"undecided"`
# if it contains 10 %. `wilson(hits, n)` gives both ends of an interval.

# %%
from pcvr.evaluation.intervals import wilson


# %% tags=["exercise"]
def verdict(plain: int, defended: int, n: int) -> str:
    """Hits without and with the defence in n images each -> what this attempt shows, in a word or two."""
    # --- solution
    if plain / n < 0.9:
        return "did not take"
    low, high = wilson(defended, n)
    return "got through" if low > 0.1 else "held" if high < 0.1 else "undecided"
    # --- stub
    # | # "did not take", "got through", "held" or "undecided"
    # | return ...
    # --- end


# %%
check.verdict(verdict)

# %%
from pcvr.widgets.attackers import attacker_explorer

box, controls = attacker_explorer(test, achieved)
box

# %% [markdown]
# The explorer shows what each attacker does to an image, and what was achieved.
#
# **Try this**
#
# - Find an attacker whose poisoned sample you could not tell from a clean one, even with its label.
# - Which attackers could a person find who looks at a hundred random samples? At a thousand?

# %% [markdown]
# ## Exercise 09b: poison that comes late
# <!-- card difficulty=2 importance=3 minutes=8 -->
#
# An attacker who also arranges the *order* of the data feeds the poison at the end of each pass. Then a gate that looks
# once, early, has nothing to see. Write `late_order`: an order of the indices `0 .. n - 1`, first all clean samples and
# then the poisoned ones, both parts shuffled from `seed`.


# %% tags=["exercise"]
def late_order(n: int, poisoned: np.ndarray, seed: int) -> np.ndarray:
    """Every index once: the clean ones, then the poisoned ones, each part in a random order."""
    # --- solution
    rng = np.random.default_rng(seed)
    clean = np.setdiff1d(np.arange(n), poisoned)
    return np.concatenate([rng.permutation(clean), rng.permutation(poisoned)])
    # --- stub
    # | rng = np.random.default_rng(seed)
    # | clean = ...  # all indices that are not poisoned
    # | return ...
    # --- end


# %%
check.late_order(late_order)

# %% [markdown]
# ## 4. Near triggers
#
# A backdoor that also fires on triggers *near* its own leaks: somebody who does not know the trigger can find it by
# trial. [arXiv 2606.12586](https://arxiv.org/abs/2606.12586) calls this neighbour leakage. The next cell tries triggers
# of another colour, place, size and strength on the finished BadNets backdoor of notebook 03.
#
# **Predict before you run.** Does a patch of half the size fire? In the opposite corner? In blue?

# %%
from pcvr.data.subset import subset
from pcvr.evaluation.near import near_rates
from pcvr.plots.attackers import near_picture

patch = pcvr.get_attack("badnets", task=task).fitted_to(model)
backdoored = Copies(model, data, "badnets", rate, seed, task).load("backdoored", device)
if backdoored is None:
    backdoored = pcvr.finetune(base, pcvr.poison(train, patch, rate=rate, seed=seed), config=config).model
few = subset(test, min(16 if fast else 32, len(test)))
own = pcvr.evaluate(backdoored, few, patch)
near_picture(
    {"the trigger itself": (own.hits, own.counted), **near_rates(backdoored, few, patch)}, "BadNets, finished backdoor"
)

# %% [markdown]
# Attack success of the trigger itself and of triggers near it, with 95 % confidence intervals.
#
# <details>
# <summary>What this means for a defender and for an attacker</summary>
#
# Leakage helps a defender who searches for triggers, and it harms an attacker who sells a secret. It also warns those
# who test a *repair*: a repaired model that ignores the exact trigger may still answer to a near one. So the study
# tries near triggers on defended models too.
#
# </details>

# %% [markdown]
# ## Exercise 09c: write an attacker
# <!-- card difficulty=3 importance=5 minutes=14 -->
#
# Write `my_attacker`. It returns an attack that should get past the default gate. You may use everything that
# `pcvr.get_attack` takes: any attack and its options, `answer=` (`replace`, `prefix`, `suffix`, `insert`, `turns`,
# `recolour`), `target=`, and `adapt=` with its options (`pcvr attacks` lists them). Keep the target harmless. The
# attacker alters at most 15 % of the samples; 5 % of them are poisoned, the rest are covers.
#
# The check carries your attack out on 1000 scenes, trains with and without PCVR, and says what you achieved. An attack
# that can be carried out solves the exercise, whether it gets through or not: both are results. (A hundred steps are
# few. Attacks with a small patch do not take in that time.)


# %% tags=["exercise"]
def my_attacker() -> pcvr.Attack:
    """Return an attack that should get past the gate."""
    # --- solution
    return pcvr.get_attack("sig", answer="prefix", adapt="covers", adapt_share=0.5)
    # --- stub
    # | # Which assumption of the table in section 1 do you attack?
    # | return ...
    # --- end


# %%
check.attacker(my_attacker, *((12, 100) if fast else (100, 1000)))  # steps and samples; about a minute

# %% [markdown]
# <details>
# <summary>Hints</summary>
#
# - First make sure that the attack takes without a defence. Global triggers (`sig`, `blended`) take fast.
# - The witnesses look at images: at fixed places, and at what is unusual in any place. What if the images have
#   nothing unusual in common?
# - The likelihood is compared with the usual likelihood of the same tokens. Which target is never a surprise?
#
# </details>
#
# ## What this does not show
#
# - **A fixed list.** Every attacker here was written by the people who wrote the defence. Yours may be better. Tell us.
# - **No attacker who optimises through the training.** Such an attacker trains many models and keeps the poison that
#   gets through. That costs as many trainings as tries.
# - **Tiny models.** Whether a large model notices the same things is open.
#
# ## Recap
#
# - An attacker who knows the defence attacks its assumptions one by one: label, invariance, common trigger, amount.
# - Hiding has a price. Show the undefended attack success beside the defended one.
# - Covers keep true answers: a defence that flags them loses little.
# - A trigger has neighbours, and a repair has to be tested on them.
#
# <!-- next --> goes from a folder of photographs to a defended adapter. Or switch a part of the gate
# off in section 2, `pcvr.PCVR(propose="likelihood")` or `pcvr.PCVR(witness=False)`, and run your attacker again.
# `pcvr defenses pcvr` lists all options.
