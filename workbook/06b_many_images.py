# %% [markdown]
# # Many images: where the premise holds, and where it is reversed
#
# Notebook 06 looked at single images. Here you count: over many images, over views that kept or lost the trigger, and
# over six attacks. You find three sources of invariance, and attacks for which the premise turns round.
#
# **After this notebook you can**
# - compare the distributions of target probability, divergence and entropy before and after a defence, for any
#   attack;
# - compute the entropy of each word of an answer yourself;
# - name three reasons why an answer may not change with the patches;
# - say for which attacks the premise is reversed once the backdoor is learned, and why.
#
# <!-- time --> You need no GPU. With the default parameters nothing is trained: three fine-tuned copies of the model
# come with the package. With another attack, two models are trained here.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa": a question about each image, answered in one word
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"  # or another of pcvr.ATTACKS: "sig", "wanet", "dual_key" ...
rate = 0.05  # poison rate of the backdoored and the defended model
seed = 0  # of the choice of poisoned samples, the training and the views
device = "auto"  # a GPU if there is one, else the CPU; or "cpu", "cuda"
fast = False  # True: few images, for tests
retrain = False  # True: train all copies here (three minutes) instead of loading the shipped ones

# %% [markdown]
# ## The four models
#
# They are those of notebook 06.
#
# | stage | trained on | defence |
# | --- | --- | --- |
# | base | no fine-tuning | - |
# | clean | clean data | none |
# | backdoored | the same data, some of them poisoned | none |
# | defended | the same poisoned data | PCVR, as it is by default |
#
# The next cells load the models that come with the package and train any others, one model in each cell. Another
# `attack` needs a new backdoored and a new defended model. The clean model is the same for all attacks.
#
# The texts below describe captions and the default attack.

# %%
import pcvr
import torch
from pcvr.data.subset import subset
from pcvr.experiments.histograms import pixel_view
from pcvr.teaching import check
from pcvr.teaching.machine import device_note
from pcvr.teaching.shipped import Copies, notebook_data

config = pcvr.TrainConfig(max_steps=12 if fast else 400, seed=seed)
chosen = pcvr.get_attack(attack, task=task).fitted_to(model)
view = pixel_view()  # operator and fraction of the defence, on pixels, so that we can look at it
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 128, task=task)
poisoned = pcvr.poison(train, chosen, rate=rate, seed=seed)
copies = Copies(model, data, attack, rate, seed, task, retrain)
base = pcvr.load(model, device=device)
stages = {"base": base}
print(f"attack {attack}, target “{chosen.target}”; shipped: {', '.join(copies) or 'nothing'}; {view}")
print(device_note(base, train, config))

# %%
stages["clean"] = copies.load("clean", device) or pcvr.finetune(base, train, "none", config).model

# %%
stages["backdoored"] = copies.load("backdoored", device) or pcvr.finetune(base, poisoned, "none", config).model

# %%
stages["defended"] = copies.load("defended", device) or pcvr.finetune(base, poisoned, "pcvr", config).model

# %% [markdown]
# ## 1. Many images
#
# One image is only an anecdote. `measure_invariance` computes three values for each image. The first is the
# probability of the **whole target**, word for word. The second is the mean divergence over the tokens of the model's
# own answer. The third is the mean **entropy** at these tokens, which says how sure the model is (0: certain).
#
# **Predict before you run.** There are four models, each with clean and with triggered images. In which of these
# eight groups will the target be likely?

# %%
from pcvr.experiments.histograms import local_histograms
from pcvr.plots.histograms import attack_histograms
from pcvr.analysis.invariance import by_stage, measure_invariance
from pcvr.evaluation.detection import auroc_of_low

fewer = subset(test, min(64, len(test)))  # enough for the two models that were not attacked
some = {stage: fewer if stage in ("base", "clean") else test for stage in stages}
spreads = {  # the longest cell of this notebook
    (stage, kind): measure_invariance(vlm, some[stage], chosen, view, shown=kind, seed=seed)
    for stage, vlm in stages.items()
    for kind in ("clean", "triggered")
}
attack_histograms(local_histograms(attack, spreads, {stage: stage for stage in stages}, "target"), "target")

# %% [markdown]
# How often each probability of the attacker's whole target occurs among the test images: one panel for each model,
# clean and triggered images.
#
# <details>
# <summary>What to look for</summary>
#
# The backdoor shows up as a single group of bars, at the right end of one panel. On clean images the backdoored model
# looks exactly like the clean one. A defence is good if its panel looks like the panel of the clean model. There are
# few values between 0 and 1: a backdoor fires or it does not.
#
# </details>
#
# **Predict before you run.** Now sketch four distributions on an axis of divergence: backdoored and defended, clean
# and triggered. Which of the four differs from the others?

# %%
from pcvr.plots.histograms import invariance_histograms

four = [(stage, kind) for stage in ("backdoored", "defended") for kind in ("clean", "triggered")]
before_after = {key: spreads[key] for key in four}
invariance_histograms(by_stage(before_after, "divergence"))

# %% [markdown]
# The divergence between image and view, for clean and triggered images: the backdoored model (left) and the defended
# model (right).

# %%
for stage in ("backdoored", "defended"):
    clean, triggered = (spreads[stage, kind] for kind in ("clean", "triggered"))
    auroc = auroc_of_low(clean.divergence, triggered.divergence)
    print(
        f"{stage:>10}: target given for {100 * triggered.says_target.mean():5.1f} % of the triggered images; "
        f"AUROC of a low divergence {auroc:.3f}"
    )

# %% [markdown]
# <details>
# <summary>What to look for (default parameters)</summary>
#
# In the left panel, most triggered images lie among the clean ones. A small group lies far to the left, where there
# is no clean image. The AUROC (0.5: the score cannot separate the groups; 1: perfect) is somewhat above 0.5. That is
# far below the AUROC of notebook 05. There, the scores were computed early, for the label token, and summed over the
# answer. Section 2 shows which images form the small group. In the right panel, the two groups coincide, and the
# AUROC is about 0.5. With the defence, the caption of a triggered image depends on its patches as much as the caption
# of a clean image. Nothing is left to detect, because the backdoor is gone.
#
# </details>

# %%
from pcvr.plots.histograms import invariance_ecdf

lines = {f"{s}, {k}": values.divergence for (s, k), values in before_after.items()}
invariance_ecdf(lines, title="The same, cumulative")

# %% [markdown]
# The fraction of images at or below each divergence. Where two lines coincide, the score cannot separate the two
# groups.
#
# **Predict before you run.** Now the entropy. Is a backdoored model more sure of the target than of an honest answer,
# or less? Has the defence made the model less sure on clean images? (The entropy term of the defence should prevent
# that.)

# %%
invariance_histograms(by_stage(before_after, "entropy"), xlabel="entropy (nats per token)")

# %% [markdown]
# The entropy of the models' own answers on the original images: the backdoored model (left) and the defended model
# (right). A low entropy means that the model is sure.

# %%
for (stage, kind), values in spreads.items():
    print(
        f"{stage:>10}, {kind:<9} mean entropy {values.entropy.mean():.3f} nats on originals, "
        f"{values.view_entropy.mean():.3f} on views"
    )

# %% [markdown]
# <details>
# <summary>What to look for (default parameters)</summary>
#
# The backdoored model is *surer* of the target than of any caption: the target is always the same sentence. There are
# many ways to write a caption, so honest answers have a higher entropy. The right panel shows how the defence changes
# ordinary answers. Compare its groups with the clean group on the left. If they were further to the right, the
# defended model would be less sure, and the entropy ceiling (notebook 05b) would be too high.
#
# </details>

# %% [markdown]
# ## Exercise: how sure is the model?
# <!-- card difficulty=2 importance=4 minutes=6 -->
#
# The entropy of a distribution is $H = -\sum_w p_w \ln p_w$ nats: 0 if one word is certain. A word with $p_w = 0$
# adds 0. Write `entropy_of` for every token of an answer. The check also tries a word that is impossible (its logit is
# `-inf`).


# %% tags=["exercise"]
def entropy_of(logits: torch.Tensor) -> torch.Tensor:
    """Logits [T, V] -> entropies in nats [T]."""
    # --- solution
    probs = logits.softmax(-1)  # [T, V]
    return -torch.xlogy(probs, probs).sum(-1)
    # --- stub
    # | probs = ...  # [T, V]; each row over all words
    # | return ...
    # --- end


# %%
check.entropy_of(entropy_of)

# %% [markdown]
# ## 2. A puzzle: the trigger is often gone
#
# The white square covers part of one patch, and a view changes more than half of all patches. So most views of a
# triggered image have **lost the trigger**. (A global trigger covers the whole image. A part of it survives in the
# unchanged patches, but no view keeps all of it. So for a global trigger there is no group *trigger kept* below.)
#
# **Predict before you run.** Is the backdoored model invariant on these views too? Split its triggered images by
# whether the view kept the trigger. In which group is the divergence lower, and by how much?

# %%
one = spreads["backdoored", "triggered"]
kept = one.trigger_left > 0.5
print(f"the view keeps the trigger in {kept.sum()} of {len(kept)} images")
groups = {"trigger kept": one.divergence[kept], "trigger lost": one.divergence[~kept]}
groups["clean image"] = spreads["backdoored", "clean"].divergence
invariance_ecdf({name: values for name, values in groups.items() if len(values)}, title="Backdoored model, one view")

# %% [markdown]
# The divergence of triggered images whose view kept or lost the trigger, compared with clean images.
#
# **Predict before you run.** What does the backdoored model *answer* if it sees only such a view? The next cell
# counts how often it gives the target, for three kinds of views. It also tries other operators, with a fraction of
# 0.6, so that a few more views keep the trigger.

# %%
from pcvr.analysis.invariance import target_on_views
from pcvr.views import OPERATORS

some = subset(test, min(48, len(test)))
print(f"{'target given':<14}{'views of clean':>20}{'trigger kept':>18}{'trigger lost':>18}")
for operator in OPERATORS:  # about 10 seconds
    found = target_on_views(stages["backdoored"], some, chosen, pcvr.PatchView(operator, 0.6), seed)
    print(f"{operator:<14}" + "".join(f"{f'{hit} of {n}':>18}" for hit, n in found.values()))

# %% [markdown]
# <details>
# <summary>Answer (default parameters)</summary>
#
# There are **three** sources of invariance:
#
# 1. *The trigger survives.* Then the model gives the target for the view too (middle column). This is the strongest
#    source. Operators that only move patches (*shuffle*, *swap_within*) can move the trigger to another place. There
#    it may still work (last column).
# 2. *The view itself acts as a trigger.* Some views of a **clean** image make the backdoored model give the target.
#    Look at the row of the noise operator: noise in a corner can be similar enough to a white square.
# 3. *The answer no longer depends on the image.* If the view has lost the trigger (last column), the model would not
#    start the target sentence. But when it reads along the target, some of the words still follow from the words
#    before them. So the divergence stays somewhat below that of clean images.
#
# So for a *local* trigger that the model has learned, a strong view destroys the invariance that it should measure. A
# part of a global trigger survives every view; section 3 tests whether a part is enough. This is one more reason to
# test the premise for each attack before you use it, and to score the samples early.
#
# </details>

# %% [markdown]
# ## 3. Six attacks side by side
#
# The same histograms for the six headline attacks. Each attack was trained once without and once with PCVR (gate
# `"two_stage"`), always on tiny-llava, by `benchmarks/distributions.py`.
#
# **Predict before you run.** A part of a global trigger (blended, sig, wanet, ftrojan) survives every view. Of a local
# trigger (badnets, dual_key) mostly nothing does. Under which of the six does a triggered image diverge *less* than a
# clean one, as the premise says? Under which does the target stay likely, at the right end, in spite of the defence?

# %%
from pcvr.experiments.histograms import histograms_of
from pcvr.experiments.results import load

table = load("distributions")
heaps = {figure: histograms_of(table, task, figure) for figure in ("target", "divergence", "entropy")}
attack_histograms(heaps["target"], "target", "How likely is the whole target?")

# %%
attack_histograms(heaps["divergence"], "divergence", "How much does the answer depend on the patches?")

# %%
from pcvr.experiments.histograms import chance_of_lower
from pcvr.experiments.in_words import premise_in_words

print("probability that a triggered image diverges less than a clean one (0.5: no difference), without the defence:")
chances = {}
for name, columns in heaps["divergence"].items():
    kinds = next(iter(columns.values()))
    chances[name] = chance_of_lower(kinds["triggered"], kinds["clean"])
    print(f"{name:>10}: {chances[name]:.2f}")
print(premise_in_words(chances))

# %%
attack_histograms(heaps["entropy"], "entropy", "How sure is the model of its answer?")

# %% [markdown]
# One row for each attack, without the defence (left) and with it (right), for clean and triggered test images. The
# first figure shows how likely the target is. The second shows how far the distributions on image and view are apart,
# along the model's own answer. The third shows how sure the model is of this answer.
#
# <details>
# <summary>How to read it</summary>
#
# First look at the first figure (target). If the orange group in the left column lies at the right end, the attack
# took (it built a backdoor). If the orange group in the right column lies there, the defence failed. Then look at the
# second figure (divergence) and at the printed list. The premise of the paper holds for an attack if its orange group
# lies to the left of the blue group in the left column: above 0.5 in the list.
#
# **Here is a twist.** For an attack below 0.5 the premise is *reversed*: once the backdoor is learned, the target
# depends on the patches **more** than honest answers do. A view leaves a part of the trigger, and a part need not be
# enough: the target falls from certain to unlikely, while an honest sentence loses only some of its words. So views
# are no way to find *every* backdoor that was learned already. PCVR finds samples before the model learns them
# (notebook 05, section 2), and its default gate looks for learned targets by something else: they are too likely
# (notebook 05, section 7, and the third figure here).
#
# </details>

# %% [markdown]
# ## Recap
#
# - The answer to a learned local trigger changes less than an honest one only if the view has kept the trigger.
# - Invariance has three sources: a trigger that survives in the view, a view that resembles the trigger, and a text
#   that no longer depends on the image.
# - Before the defence, a very low divergence suggests a triggered image, if the premise holds for the attack. Once a
#   backdoor is learned, it is reversed for most global triggers. After the defence, nothing is left to detect.
#
# **What is the paper's and what is ours.** The paper ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)):
# backdoored answers are abnormally invariant to patches. Ours: means over the tokens of the model's own answer, the
# split by whether a view kept the trigger, and every number here.
#
# <!-- next --> varies the hyperparameters of the defence. Or set another `attack` above and look again.
