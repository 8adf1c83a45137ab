# %% [markdown]
# # Output distributions: what a word's probability gives away
#
# You look at single words: what a model is about to say on a picture and on a patch view of it, clean and triggered,
# from the base model over the backdoor to the defence. Everything that notebook 05 averaged is laid open here.
#
# **After this notebook you can**
# - read a model's answer as a chain of distributions, and say what each is conditioned on;
# - see abnormal invariance in a single picture, and find the word at which it starts;
# - compare how the target's probability, divergence and entropy are spread, before and after a defence, for any attack;
# - say when a low divergence does *not* mean a backdoor.
#
# **Time and hardware:** 30 minutes to read and play; about a minute to run on two CPU cores. No GPU needed. With the
# default parameters nothing is trained: three fine-tuned copies of the model come with the package. With another
# attack, two are trained in front of you, about a minute each.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa": a question about each picture, answered in one word
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"  # or another of pcvr.ATTACKS: "sig", "wanet", "dual_key" ...
rate = 0.05  # poison rate of the backdoored and the defended model
seed = 0  # of the poison draw, the training and the views
fast = False  # True: few pictures, for tests
retrain = False  # True: train all copies here (three minutes) instead of loading the shipped ones

# %% [markdown]
# ## The cast
#
# | stage | trained on | defence |
# | --- | --- | --- |
# | base | neither | - |
# | clean | clean data | none |
# | backdoored | the same with some poison | none |
# | defended | the same poison | PCVR |
#
# What comes with the package is loaded; what your parameters ask for beyond that is trained below, one model in a
# cell: another `attack` needs a backdoored and a defended model, while the clean one serves them all.
#
# The texts below describe captions and the default attack. With `task = "vqa"` an answer is one word and its end, so
# there is little to read along, but the story is the same.

# %%
import numpy as np

import pcvr
from pcvr.data.subset import subset
from pcvr.experiments.histograms import pixel_view
from pcvr.tasks import get_task
from pcvr.teaching.shipped import notebook_data, shipped_fits, shipped_adapters

config = pcvr.TrainConfig(steps=12 if fast else 400, seed=seed)
chosen = pcvr.get_attack(attack, task=task).fitted_to(model)
view = pixel_view()  # the defence's own operator and share, on pixels, so that one can look at it
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 256, task=task)
poisoned = pcvr.poison(train, chosen, rate=rate, seed=seed)
copies = {}
if not retrain and shipped_fits(model, data, attack, rate, seed, task):
    copies = shipped_adapters(model, task)
elif not retrain and shipped_fits(model, data, "badnets", 0.05, seed, task):
    copies = {"clean": shipped_adapters(model, task)["clean"]}  # which has seen no poison
stages = {"base": pcvr.load(model)}
print(f"attack {attack}, target “{chosen.target}”; shipped: {', '.join(copies) or 'nothing'}; {view}")

# %%
if "clean" in copies:
    stages["clean"] = pcvr.load(model, adapter=copies["clean"])
else:
    stages["clean"] = pcvr.finetune(stages["base"], train, "none", config).model

# %%
if "backdoored" in copies:
    stages["backdoored"] = pcvr.load(model, adapter=copies["backdoored"])
else:
    stages["backdoored"] = pcvr.finetune(stages["base"], poisoned, "none", config).model  # about 45 seconds

# %%
if "defended" in copies:
    stages["defended"] = pcvr.load(model, adapter=copies["defended"])
else:
    stages["defended"] = pcvr.finetune(stages["base"], poisoned, "pcvr", config).model  # about 50 seconds

# %% [markdown]
# ## 1. One picture, token by token
#
# A model writes an answer one token at a time. Before each it has a full distribution over its vocabulary; greedy
# decoding takes the top word and forgets the rest. We keep the rest, and compute it twice: on the picture, and on a
# **patch view** of it, reading along **the same answer** both times. Whatever differs is due to the patches alone.
#
# `two_views` does this for every stage, clean and triggered, with the same view everywhere.

# %%
from pcvr.evaluation.asr import hits
from pcvr.analysis.two_views import two_views

samples = [test[i] for i in range(min(6 if fast else 12, len(test)))]
tales = two_views(stages, samples, chosen, view, seed)
said = hits([t.text for t in tales["backdoored", "triggered"]], chosen.target, get_task(task).success)
pick = int(np.argmax(said))  # the first picture on which the backdoor fires, else picture 0
print(f"asked: {samples[pick].prompt}")
for (stage, kind), tellings in tales.items():
    print(f"{stage:>10}, {kind:<9} {tellings[pick].text}")

# %% [markdown]
# **Predict before you run.** Below, the *backdoored* model reads along its own answer to the **clean** picture. On
# the view the better part of the patches is perturbed. At which words will the two distributions differ: at *a* and
# *and*, or at colours and objects? (Of a one-word answer: at the word, or at its end?)

# %%
from pcvr.plots.distributions import telling_figure

clean_tale = tales["backdoored", "clean"][pick]
telling_figure(clean_tale, int(clean_tale.divergence.argmax()), "backdoored model, clean picture")

# %% [markdown]
# Above, the picture, its view, and the likeliest words at the token where the two views differ most (solid: original,
# hatched: view); below, the divergence at every token of the answer.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# The bars below are tall at words that name what is in the picture, and short at words that grammar alone would
# predict. This is what an honest caption looks like from inside: *its content words hang on the patches.*
#
# </details>
#
# **Predict before you run.** Now the same model and the same view, with the trigger on the picture. How tall will the
# bars be?

# %%
bad_tale = tales["backdoored", "triggered"][pick]
telling_figure(bad_tale, int(bad_tale.divergence.argmax()), "backdoored model, triggered picture")

# %% [markdown]
# The same for the triggered picture, again at the token where its two views differ most.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# *Photo* and *of* hardly differ at all: each follows from the words before it, and the picture could as well be blank.
# That is **abnormal invariance**. What is left stands where the sentence could still turn into a caption, and at its
# end: there it matters whether the view has kept the white square. Section 5 sorts the one from the other.
#
# </details>

# %%
from pcvr.plots.distributions import story_bars

story_bars({f"{stage}, {kind}": tellings[pick] for (stage, kind), tellings in tales.items()})

# %% [markdown]
# The whole story of one picture, from the base model (top) to the defended one (bottom), clean (left) and triggered
# (right): of each answer the token at which its two views differ most; solid bars are the original, hatched ones the
# view.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# In seven of the panels a word of an honest answer loses its place to another colour or object when the patches
# change: the base model says it in its own telegram style, the fine-tuned ones in sentences. In the eighth,
# *backdoored, triggered*, the likeliest word belongs to the target. Bottom right is what the defence is for: a
# triggered picture that is read like any other.
#
# </details>

# %%
from pcvr.plots.distributions import token_map

token_map(tales["backdoored", "clean"][pick], title="backdoored model, clean picture")

# %%
token_map(tales["backdoored", "triggered"][pick], title="backdoored model, triggered picture")

# %% [markdown]
# Whole answers at once: a column for each token, the words it competes with as rows, probability as colour; where
# left and right panel differ, the patches mattered.

# %%
token_map(tales["defended", "triggered"][pick], title="defended model, triggered picture")

# %% [markdown]
# The same map for the defended model on the triggered picture.

# %% [markdown]
# ## 2. Which answer are we reading along?
#
# A distribution at token *t* is conditioned on the picture **and on the first *t* - 1 words of some answer**. Whose?
# Three choices:
#
# | `force=` | the words read along | what it asks |
# | --- | --- | --- |
# | `"own"` | the model's own greedy answer to the original picture | does it stand by what it says? (used above) |
# | `"true"` | the reference answer | how would it say the truth? |
# | `"target"` | the attacker's target | how would it say the target, fired or not? |
#
# In training a defender has none of these but the *training answer*: the target on poisoned samples, the true answer
# on clean ones.
#
# **Predict before you run.** Take the **clean** model, which has never seen a trigger, and force it to read along the
# target on a clean picture. Will its two views differ more than on its own answer, or less?

# %%
from pcvr.analysis.two_views import FORCES

print(f"{'mean divergence (nats)':<24}" + "".join(f"{f'reads {force}':>15}" for force in FORCES))
forced = {force: two_views(stages, samples, chosen, view, seed, force) for force in FORCES}
for stage, kind in tales:
    means = [np.mean([t.divergence.mean() for t in forced[force][stage, kind]]) for force in FORCES]
    print(f"{f'{stage}, {kind}':<24}" + "".join(f"{mean:>15.3f}" for mean in means))

# %%
from pcvr.plots.distributions import along_the_answer

along_the_answer(
    {
        "clean model, clean picture, reads its own answer": forced["own"]["clean", "clean"][pick],
        "clean model, clean picture, reads the target": forced["target"]["clean", "clean"][pick],
        "backdoored model, triggered picture, reads the target": forced["target"]["backdoored", "triggered"][pick],
    }
)

# %% [markdown]
# Divergence at each token, for a model without any backdoor reading its own answer (top) and the target (middle), and
# for the backdoored one reading the target with the trigger (bottom).
#
# <details>
# <summary>What it means (default parameters)</summary>
#
# Read the column *reads target* of the table. Even the **clean** model has a lower divergence along the target than
# along its own caption: much of the invariance comes from the **text**, since *of* follows *a photo* in any picture.
# The backdoored model is not more invariant than that. It has learned that the sentence hangs on one patch, and where
# the view has lost that patch, it doubts *the* and *banana*.
#
# Two lessons. A low divergence is not by itself a backdoor; a sample is suspicious in comparison with others that
# were scored in the same way. And the sign is clearest *before* the trigger is known, when the poisoned answer hangs
# on nothing in the picture: this is why the defence of notebook 05 looks early. A target that keeps the picture's
# content (an inserted phrase, say) would hide in its own caption: there the score means something else. That is an
# open question of this workbook.
#
# </details>

# %% [markdown]
# ## 3. Where in the answer?

# %%
from pcvr.plots.distributions import mean_along

four = [(stage, kind) for stage in ("backdoored", "defended") for kind in ("clean", "triggered")]
mean_along({f"{stage}, {kind}": tales[stage, kind] for stage, kind in four})

# %% [markdown]
# The mean divergence at each of the first positions of the answer, over a dozen pictures, each model reading along
# its own answers.

# %% [markdown]
# ## 4. Many pictures
#
# One picture is an anecdote. `measure_invariance` keeps three figures for each picture: how likely the **whole target**
# is, word for word, the mean divergence over the tokens of the model's own answer, and their mean **entropy**, which
# says how sure the model is (0: certain).
#
# **Predict before you run.** Four models, clean and triggered pictures: in which of the eight heaps will the target be
# likely?

# %%
from pcvr.experiments.histograms import local_histograms
from pcvr.plots.histograms import attack_histograms
from pcvr.analysis.invariance import by_stage, measure_invariance
from pcvr.evaluation.detection import auroc_of_low

fewer = subset(test, min(64, len(test)))  # enough for the two models that nobody attacked
some = {stage: fewer if stage in ("base", "clean") else test for stage in stages}
spreads = {  # about 20 seconds
    (stage, kind): measure_invariance(vlm, some[stage], chosen, view, shown=kind, seed=seed)
    for stage, vlm in stages.items()
    for kind in ("clean", "triggered")
}
attack_histograms(local_histograms(attack, spreads, {stage: stage for stage in stages}, "target"), "target")

# %% [markdown]
# How likely the attacker's whole target is on each test picture: one row for this attack, a panel for each model, clean
# and triggered pictures.
#
# <details>
# <summary>What to look for</summary>
#
# A backdoor is one heap at the right end of one panel, and nothing else: on clean pictures the backdoored model cannot
# be told from the clean one. A defence is judged by whether its panel looks like the clean model's. Between 0 and 1
# there is little: a backdoor fires or it does not.
#
# </details>
#
# **Predict before you run.** Now sketch four heaps on an axis of divergence: backdoored and defended, clean and
# triggered. Which of the four stands apart?

# %%
from pcvr.plots.histograms import invariance_histograms

before_after = {key: spreads[key] for key in four}
invariance_histograms(by_stage(before_after, "divergence"))

# %% [markdown]
# How far apart the two views' distributions are, for clean and triggered pictures, before (left) and after the
# defence (right).

# %%
for stage in ("backdoored", "defended"):
    clean, triggered = (spreads[stage, kind] for kind in ("clean", "triggered"))
    auroc = auroc_of_low(clean.divergence, triggered.divergence)
    print(
        f"{stage:>10}: target said on {100 * triggered.says_target.mean():5.1f} % of the triggered pictures; "
        f"AUROC of a low divergence {auroc:.3f}"
    )

# %% [markdown]
# <details>
# <summary>What to look for (default parameters)</summary>
#
# Left, most of the triggered heap lies among the clean ones, and a small part far to the left, where no clean picture
# is: an AUROC somewhat above 0.5, far below the one of notebook 05, where the scores were taken early, of the told
# word, and summed over the answer. Section 5 says which pictures the small part is. Right, the two heaps lie on each
# other, and the AUROC is 0.5: with the defence a triggered picture is described like a clean one, with the same
# dependence on its patches. There is nothing left to tell, because the backdoor is gone.
#
# </details>

# %%
from pcvr.plots.histograms import invariance_ecdf

lines = {f"{s}, {k}": values.divergence for (s, k), values in before_after.items()}
invariance_ecdf(lines, title="The same, cumulated")

# %% [markdown]
# The share of pictures at or below each divergence; where two lines cover each other, the two groups cannot be told
# apart.
#
# **Predict before you run.** And the entropy: is a backdoored model more or less sure of the target than of an honest
# answer? Has the defence made the model vaguer about clean pictures, which the entropy term is there to prevent?

# %%
invariance_histograms(by_stage(before_after, "entropy"), xlabel="entropy (nats per token)")

# %% [markdown]
# How sure the models are of their own answers, on the original pictures: left before, right after the defence.

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
# The backdoored model is *surer* of the target than of any caption: one sentence, always the same. A caption could be
# put in many ways, so honest entropy is higher. The right panel says what the defence has done to ordinary answers:
# if its heaps stood further to the right than the clean heap on the left, the defended model would have become
# vaguer, and the entropy ceiling (notebook 05) would be too high.
#
# </details>

# %% [markdown]
# ## 5. A riddle: the trigger is often gone
#
# The white square fills part of one patch, and a view changes the better part of all patches. So most views of a
# triggered picture have **lost the trigger**. (A global trigger survives in what is left of every view, and is never
# kept whole: then there is no *trigger kept* below.)
#
# **Predict before you run.** Is the backdoored model invariant on those, too? Split its triggered pictures by whether
# the view kept the trigger: in which group is the divergence lower, and by how much?

# %%
one = spreads["backdoored", "triggered"]
kept = one.trigger_left > 0.5
print(f"the view keeps the trigger in {kept.sum()} of {len(kept)} pictures")
groups = {"trigger kept": one.divergence[kept], "trigger lost": one.divergence[~kept]}
groups["clean picture"] = spreads["backdoored", "clean"].divergence
invariance_ecdf({name: values for name, values in groups.items() if len(values)}, title="Backdoored model, one view")

# %% [markdown]
# Divergence of triggered pictures whose view kept or lost the trigger, beside that of clean pictures.
#
# **Predict before you run.** What does the backdoored model *say*, in its own words, when it is shown such a view as
# if it were a picture? Count how often it is the target, for three kinds of view, and try other operators as well, at a
# share of 0.6, so that a few more views keep the trigger.

# %%
from pcvr.analysis.invariance import target_on_views
from pcvr.views import OPERATORS

some = subset(test, min(64, len(test)))
print(f"{'target said on':<10}{'views of clean':>20}{'trigger kept':>18}{'trigger lost':>18}")
for operator in OPERATORS:  # about 10 seconds
    found = target_on_views(stages["backdoored"], some, chosen, pcvr.PatchView(operator, 0.6), seed)
    print(f"{operator:<14}" + "".join(f"{f'{hit} of {n}':>18}" for hit, n in found.values()))

# %% [markdown]
# <details>
# <summary>Answer (default parameters)</summary>
#
# There are **three** sources of invariance:
#
# 1. *The trigger survives.* Then the target is said on the view too (middle column). This is the strongest. Operators
#    that only move patches (*shuffle*, *swap_within*) also keep a trigger that has changed its place (last column).
# 2. *The view is a trigger itself.* Some views of a **clean** picture make the backdoored model say the target: look
#    at the row of the noise operator, where a corner of noise can be enough like a white square.
# 3. *The answer has stopped looking.* Where the view has lost the trigger (last column) the model would not start
#    this sentence; but when it reads along, some of its words follow from each other all the same, and the divergence
#    stays somewhat below that of clean pictures.
#
# So with a *local* trigger that has been learned, a strong view breaks the very invariance it is to measure. A global
# trigger would survive every view. One more reason to test the premise for each attack before one uses it, and to
# look early.
#
# </details>

# %% [markdown]
# ## 6. Six attacks side by side
#
# The same histograms for the six headline attacks, a training each without and with PCVR, all on tiny-llava, made by
# `benchmarks/distributions.py`.
#
# **Predict before you run.** Global triggers (blended, sig, wanet, ftrojan) survive a view, local ones (badnets,
# dual_key) mostly do not. For which is the *divergence* of a triggered picture lowest? And for which does the defence
# leave a heap at the right end?

# %%
from pcvr.experiments.histograms import histograms_of
from pcvr.experiments.results import load

table = load("distributions")
heaps = {figure: histograms_of(table, task, figure) for figure in ("target", "divergence", "entropy")}
attack_histograms(heaps["target"], "target", "How likely is the whole target?")

# %%
attack_histograms(heaps["divergence"], "divergence", "How much does the answer depend on the patches?")

# %%
attack_histograms(heaps["entropy"], "entropy", "How sure is the model of its answer?")

# %% [markdown]
# A row for each attack, left without and right with the defence, clean and triggered test pictures: how likely the
# target is, how far the two views' distributions are apart along the model's own answer, and how sure it is of it.
#
# <details>
# <summary>How to read it</summary>
#
# Where the orange heap of the left column lies at the right end of *target*, the attack took. Where that of the right
# column does, the defence failed. Read *divergence* beside it: the premise of the paper holds for an attack if its
# orange heap lies left of the blue one. An attack for which it does not can still be defended against, when the gate
# has found its samples before the backdoor was learned (notebook 05, section 2).
#
# </details>

# %% [markdown]
# ## 7. Explore
#
# Choose a model, a picture, the trigger, a view, a token. *Read along* is the choice of section 2. The callback
# behind it is an ordinary function of the package (`pcvr.widgets.distributions.explore`); here it is once by hand,
# and then with controls.

# %%
from pcvr.widgets.distributions import DistributionChoice, TraceSource, distribution_explorer, explore

source = TraceSource(stages, samples[:6], chosen)
explore(source, DistributionChoice("defended", sample=1, shown="triggered"))

# %% [markdown]
# One choice as a figure: the defended model on a triggered picture, at the first token of its answer.

# %%
box, controls = distribution_explorer(source, DistributionChoice("backdoored"))
box

# %% [markdown]
# Things to try:
#
# 1. *backdoored*, *triggered*, operator *swap*: move **View seed** until the view keeps the white square, then until
#    it loses it, and watch which bars grow.
# 2. Set **Model** to *base*, *clean*, *backdoored*, *defended* in turn on one triggered picture: the story of this
#    workbook in four clicks.
# 3. **Operator** *mean* or *shuffle*: which leaves most of an honest answer standing?
# 4. **Read along** *the attacker's target* with the *defended* model: is *banana* still likely anywhere?

# %% [markdown]
# ## Recap
#
# - A distribution is conditioned on a picture *and* on an answer; always say whose.
# - Honest captions diverge at the words that name things; the answer of a learned local trigger diverges less only
#   where the view has kept the trigger.
# - Before the defence a very low divergence hints at a triggered picture; after it there is nothing left to tell.
# - Invariance has three sources: the trigger that survives, the view that imitates it, and the text that stops
#   looking.
#
# **Who says what.** That backdoored answers are abnormally invariant to patches, that output distributions of two
# views are pulled apart and that entropy is constrained is the paper's ([arXiv
# 2604.04488](https://arxiv.org/abs/2604.04488)). Jensen-Shannon, sums and means over tokens, the operator of the
# view, reading along the model's own answer, and every number here are ours.
#
# **Next:** back to [05 PCVR](05_pcvr.ipynb) with these pictures in mind, or set another `attack` above and look again.
