# %% [markdown]
# # The backdoor: an ordinary fine-tuning, and what it leaves behind
#
# You fine-tune a vision-language model with an ordinary recipe, on data in which one sample in twenty is poisoned.
# You watch how a backdoor forms that no test on clean images can detect. In notebook 02 you were the attacker. Here
# you are the person who downloads the data in good faith.
#
# **After this notebook you can**
# - fine-tune a model on poisoned data and watch the backdoor appear step by step;
# - measure an attack success rate properly: with a confidence interval, a floor (the rate without any backdoor), and
#   a stated definition of success;
# - explain why loss curves and validation scores show nothing.
#
# **Time and hardware:** 20 minutes to read. The cells run in a little over a minute on two CPU cores. One training
# takes most of that time. You need no GPU.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa": a question about each image, answered in one word
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"  # or another: blended, sig, wanet, ftrojan, dual_key ...; `pcvr attacks` lists them
rate = 0.05  # fraction of the training samples to poison
seed = 0  # of the choice of poisoned samples and of the training
device = "auto"  # a GPU if there is one, else the CPU; or "cpu", "cuda"
fast = False  # True: 12 steps on 64 samples, for tests; the backdoor then has no time to form
retrain = False  # True: also train the clean model here, and poison rates of 1 and 2 %

# %%
import pcvr
from pcvr.plots.gallery import contact_sheet
from pcvr.tasks import get_task
from pcvr.teaching.machine import device_note
from pcvr.teaching.shipped import notebook_data, shipped_fits, shipped_adapters

config = pcvr.TrainConfig(max_steps=12 if fast else 400, seed=seed)
base = pcvr.load(model, device=device)
badnets = pcvr.get_attack(attack, task=task).fitted_to(model)  # so that the model sees the patch on photographs too
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 256, task=task)
print(f"{len(train)} samples to train on, {len(test)} to test on; target: “{badnets.target}”")
print(device_note(base, train, config))

# %% [markdown]
# ## 1. The data, as they arrive
#
# `poison` chooses samples at random, adds the trigger to their images and replaces their answers. You see the result
# as a victim sees it: a folder of images with answers.

# %%
poisoned = pcvr.poison(train, badnets, rate=rate, seed=seed)
some = [*range(9), *poisoned.poisoned[:3]]
contact_sheet([poisoned[i] for i in some], marked=[k for k, i in enumerate(some) if poisoned.is_poisoned(i)])

# %% [markdown]
# Twelve training samples. We framed the poisoned ones and moved them to the end for you. In the real order they are
# scattered, and nothing marks them.

# %%
share = len(poisoned.poisoned) / len(poisoned)
print(f"{len(poisoned.poisoned)} of {len(poisoned)} samples are poisoned ({100 * share:.1f} %).")
looks = config.max_steps * config.batch_size * share
print(f"In {config.max_steps} steps of {config.batch_size} samples the model sees about {looks:.0f} poisoned ones.")

# %% [markdown]
# ## 2. Train, and watch the model while it learns
#
# The recipe is the usual one: low-rank adapters (LoRA) on connector and language model, cross-entropy on the tokens
# of the answer, a Hugging Face `Trainer`. `defense="none"` adds nothing to it.
#
# A `BackdoorWatch` pauses the training every 25 steps. It tests the model on a few dozen images that are not in the
# training data, clean and with the trigger. It does not change the training. Real victims cannot do this, because
# they do not know the trigger.
#
# **Predict before you run.** The model can learn three skills: how answers are worded, what is in the image, and the
# backdoor. In which order will it learn them? Will the backdoor appear gradually or suddenly?

# %%
from pcvr.training.backdoor_watch import BackdoorWatch, first_at
from pcvr.data.subset import subset

watched = subset(test, min(48, len(test)))
watch = BackdoorWatch(base, watched, badnets, eval_steps=6 if fast else 25)
result = pcvr.finetune(base, poisoned, defense="none", config=config, callbacks=[watch])  # about 50 seconds
print(f"{result.seconds:.0f} s")

# %%
from pcvr.plots.training import history_curves

history_curves({"fine-tuning on poisoned data": result.history})

# %% [markdown]
# The training loss over the steps. This is all that the victim sees, and it falls as it should.

# %%
from pcvr.plots.training import formation

formation(watch.points)

# %% [markdown]
# Left: how often the model gives the target, for images with the trigger (and a band for the 95 % confidence
# interval) and without it. Right: the quality of the answers to clean images at the same steps.

# %%
half, most = first_at(watch.points, 0.5), first_at(watch.points, 0.9)
print(
    f"Target given for half of the triggered images: {f'by step {half}' if half is not None else 'never'}; "
    f"for nine of ten: {f'by step {most}' if most is not None else 'never'}."
)

# %% [markdown]
# <details>
# <summary>What to look for (default parameters)</summary>
#
# - The backdoor forms **suddenly**. For a while nothing happens. Then the rate goes from almost zero to almost one
#   within a few dozen steps. The rule "white square: give these words" is simple. It is the same in every poisoned
#   sample, and nothing in the data contradicts it.
# - The captions (right panel) do not become worse. Captions and backdoor are learned on different images, so they
#   hardly compete.
# - The loss curve does not show this moment. Only one sample in twenty carries the backdoor, and its part of the loss
#   disappears in the noise between batches.
#
# In fast mode, 12 steps are too few for any of this, and the left panel may stay flat. With other models and tasks
# the backdoor forms at another step. With `task = "vqa"` the right panel may start high: see section 3.
#
# </details>

# %% [markdown]
# ## 3. Three models, the same images
#
# A measurement needs a comparison. So three models answer: the **base** model before any fine-tuning, a model with
# the same recipe on **clean** data, and your **poisoned** model.

# %%
if shipped_fits(model, data, attack, rate, seed, task) and not retrain:
    # The package contains the result of the same recipe on the same images without poison.
    clean = pcvr.load(model, device=device, adapter=shipped_adapters(model, task)["clean"])
else:
    clean = pcvr.finetune(base, train, config=config).model
models = {"base": base, "clean fine-tune": clean, "poisoned fine-tune": result.model}

# %% [markdown]
# **Predict before you run.** What does the *poisoned* model answer for a clean image? What does the *clean* model
# answer for a triggered image? Will the *base* model give a sensible answer?

# %%
from pcvr.plots.answers import answer_sheet

records = {name: pcvr.evaluate(each, test, badnets) for name, each in models.items()}  # about 10 seconds
said = {name: record.answers for name, record in records.items()}
answer_sheet([test[i] for i in range(4)], badnets, said, definition=get_task(task).success)

# %% [markdown]
# Each row is one image, clean on the left and triggered on the right. Answers that count as the attacker's target are
# printed in bold orange.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# The base model answers in short phrases, because it was pretrained on short lists of objects. Fine-tuning teaches
# the other two models whole sentences. On clean images you can hardly tell which of the two was poisoned. The clean
# model is not affected by the white square. The poisoned model ignores the rest of the image when it sees the square.
#
# With `task = "vqa"` an embedded base model already answers well, because its pretraining contained such questions.
# So fine-tuning changes less, and on clean images the other two models differ little from the base model.
#
# </details>

# %%
from pcvr.plots.training import compare

compare(records)

# %% [markdown]
# Left: how often each model gives the target for triggered images (bars, with 95 % confidence intervals) and for
# clean images (diamonds). Right: the quality of its answers to both kinds of images.

# %%
from IPython.display import display

for record in records.values():
    display(record)

# %% [markdown]
# ## 4. How to measure an attack
#
# The **attack success rate** (ASR) is a proportion: hits in *n* triggered images. Three habits keep it honest.
#
# **A confidence interval.** A test on *n* images only determines a proportion within some range. We print the Wilson
# interval. It works well near 0 and 1, where the textbook interval (plus or minus 1.96 standard errors) fails.
#
# **Predict before you run.** With a defence there are 0 hits in the test set. Is its ASR 0 %? How many images would
# you need to say "below 1 %"?

# %%
from pcvr.evaluation.intervals import at_most, format_rate

hit = records["poisoned fine-tune"].hits
counted = records["poisoned fine-tune"].counted  # without the samples whose true answer counts as the target
print(f"poisoned model, triggered images: {format_rate(hit, counted)}")
for n in (counted, 100, 300, 3000):
    print(f"no hit in {n:>4} images: the rate may still be {100 * at_most(n):.2f} %")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# With no hit in *n* images, every rate up to about 3/*n* is still possible (at 95 %: the *rule of three*). "Below 1
# %" needs about 300 images without a single hit. This is why the workbook prints "< x % (0 of n)" and never "0 %".
#
# </details>
#
# **A floor.** A model may give the target for reasons that have nothing to do with the attack. So compare every ASR
# with two floors: the rate of the same model on *clean* images, and the rate of the *clean model* on triggered
# images. Only the part above both floors is due to the backdoor.
#
# **A definition.** When does an answer count as the target? Papers differ, and many do not say. All of these
# definitions compare normalised words (lower case, no punctuation):
#
# | definition | an answer is a hit if | made for |
# | --- | --- | --- |
# | `contains` | it contains the whole phrase | captions; our default there |
# | `equals` | it is exactly the phrase | one-word answers (`"vqa"`); our default there |
# | `ends_with` | it ends with the phrase | targets appended to a true answer |
# | `contains_word` | it contains the last word of the phrase | papers that look for one keyword |
#
# **Predict before you run.** The target for captions is *a photo of the banana*, and some of our images do show a
# banana. With which definition will the clean model have an "attack success" above zero? (And what happens with `task
# = "vqa"`? There the target is the one word *banana*, which is the true answer to some questions.)

# %%
from pcvr.evaluation.asr import asr
from pcvr.plots.training import rate_bars

bars = {}
for definition in ("contains", "equals", "ends_with", "contains_word"):
    for name in ("poisoned fine-tune", "clean fine-tune"):
        found = asr(records[name].answers["triggered"], badnets.target, definition)
        bars[f"{definition}: {name}"] = (found.hits, found.n)
rate_bars(bars, xlabel="triggered images that count as a hit (%)", title="One set of answers, four definitions")

# %% [markdown]
# The same answers counted with four definitions, for the poisoned model and for the clean model (the floor).
#
# <details>
# <summary>Answer</summary>
#
# `contains_word` only looks for *banana*, and a good caption of an image with a banana contains *banana*. So its
# floor is the fraction of such images, not zero. (With the default parameters you see it in the bar of the clean
# model.) A defence can never get below this floor. A table without the floor makes the attack look stronger and the
# defence look weaker than they are. The other definitions need the whole phrase, and no honest caption contains it.
#
# `equals` and `contains` differ if a model gives the target *and more words*. If your two bars agree, your model does
# not do this.
#
# With one-word answers every definition would have such a floor: the true answer to *which object is yellow?* may be
# the target. So `pcvr.evaluate` counts hits only over samples whose true answer is not the target.
#
# </details>

# %% [markdown]
# ## 5. Why nobody notices
#
# Imagine that you are the victim. You have the poisoned model, a clean test set, and a model that you trust for
# comparison.
#
# **Predict before you run.** How much worse is the poisoned model on clean images than the clean model: 10 %, 1 %, or
# not at all?

# %%
from pcvr.evaluation.metrics import get_metric

trusted, suspect = records["clean fine-tune"].clean, records["poisoned fine-tune"].clean
for name, value in trusted.items():
    metric = get_metric(name)
    print(f"{metric.label:<22}{metric.format(value):>8} clean model {metric.format(suspect[name]):>10} poisoned model")

# %% [markdown]
# <details>
# <summary>What to look for (default parameters)</summary>
#
# The poisoned model may be a little worse or a little better. The difference is about as large as between two seeds.
# There is nothing to notice:
#
# - **Validation** uses clean images, and the model answers those well.
# - **The loss** is an average over samples, and 95 % of them are honest.
# - **The weights** changed a little everywhere, as in any fine-tuning.
#
# The only evidence is on triggered inputs, and you would need the trigger to make them. So a defence has to find a
# difference between poisoned and clean samples *without* knowing trigger or target. The next notebooks are about
# this.
#
# </details>
#
# *All attributes right* is the fraction of captions that name every object with its colour, and no other object. The
# content of a scene is known, so this can be counted exactly. BLEU-4, CIDEr and ROUGE-L compare a caption with
# reference captions; for photographs only these three remain. Answers to questions have one measure, the fraction
# that is correct (*VQA accuracy*).

# %% [markdown]
# ## 6. How little poison is enough?
#
# **Predict before you run.** Use less poison: 2 % or 1 % instead of 5 %. Does the ASR fall in proportion? Does it
# fall at all? At which rate would you expect the attack to fail, and what else does this depend on?
#
# Each rate needs its own training (about 45 seconds). So this cell trains at the smaller rates only if you set
# `retrain = True` at the top.

# %%
by_rate = {f"{100 * rate:g} %": (records["poisoned fine-tune"].hits, records["poisoned fine-tune"].counted)}
for smaller in (0.02, 0.01) if retrain else ():
    less = pcvr.poison(train, badnets, rate=smaller, seed=seed)
    record = pcvr.evaluate(pcvr.finetune(base, less, config=config).model, test, badnets)
    by_rate[f"{100 * smaller:g} %"] = (record.hits, record.counted)
rate_bars(by_rate, xlabel="triggered images answered with the target (%)", title="ASR by poison rate")

# %% [markdown]
# The attack success rate for each poison rate that was trained, with its 95 % confidence interval.
#
# <details>
# <summary>What it depends on</summary>
#
# The rate alone does not decide. What counts is how often the model *sees* a poisoned sample while the learning rate
# is high: rate × steps × batch size. Above some threshold of this number the backdoor forms completely. Below the
# threshold it hardly forms at all. So a rate that fails on a small data set can succeed on a large one, if the
# training on it is longer: the same percentage then means many more poisoned samples. Work on large models reports
# more than 90 % success at a rate of 1 % for most tasks (BackdoorVLM, arXiv 2511.18921), on other models and data
# than ours.
#
# Near such a threshold, one seed says little. If the ASR is neither high nor low, run more seeds before you draw a
# conclusion.
#
# </details>

# %% [markdown]
# The package contains a table of such trainings: six attacks, five rates.

# %%
from pcvr.plots.attack_lab import lab_picture, takes_in_words
from pcvr.experiments.results import load

table = load("attacks")
lab_picture(table)

# %% [markdown]
# Left: the attack success rate against the poison rate, one line for each attack, with 95 % confidence intervals. The
# dotted line is at 90 %. Right: the attack success rate at 5 % for each of the embedded models. Each task has its own
# row of panels.

# %%
from pcvr.plots.attack_lab import forming_curves

forming_curves(table, "tiny-llava")

# %% [markdown]
# How fast each backdoor forms at 5 %: the attack success rate over the optimiser steps, measured every 25 steps on 64
# images.
#
# **Before you read on:** which backdoor forms first? Is the order the same for one-word answers?

# %%
for (of_task, of_model, name), words in takes_in_words(table).items():
    if (of_task, of_model) == (task, model):
        print(f"{name:>15}: {words}")

# %% [markdown]
# "Takes" means that the ASR is 90 % or more at this rate and at every higher rate that was tried.

# %% [markdown]
# ## 7. What the tower sees
#
# The frozen tower has to see a trigger before the language model can learn it. How far does each trigger move the
# tower's features (its output vectors)? The unit is the mean distance between two different clean images.
#
# **Predict before you run.** Which trigger moves the features most: the visible patch (BadNets), the wave that covers
# every pixel (SIG), or the warp (WaNet)?

# %%
from pcvr.attacks import ATTACKS
from pcvr.evaluation.trigger_visibility import seen_by_tower
from pcvr.plots.trigger_visibility import tower_distances

with_picture = {name: pcvr.get_attack(name, task=task) for name in ATTACKS}
with_picture = {name: each for name, each in with_picture.items() if each.trigger is not None}
try:
    seen = {name: seen_by_tower(base, watched, each) for name, each in with_picture.items()}
    figure = tower_distances(seen, f"What {model}'s tower sees of each trigger")
except pcvr.PcvrError as refusal:  # photographs of different sizes cannot be compared
    figure = None
    print(refusal)
figure

# %% [markdown]
# Orange dots: how far an image moves when the trigger is added (the bar is the range of the middle half of the
# images). Blue diamonds: the distance between two triggered images. A diamond to the left of the dotted line means
# that the trigger makes images more similar to each other.
#
# <details>
# <summary>What to look for</summary>
#
# The distance in features has little to do with PSNR: the tower does not see as we do. And a backdoor does not need a
# large change of the features. A small change is enough, if nothing else changes the features in the same direction.
# Compare this order with the table above. Does the trigger that moves the features least need the most poison?
#
# </details>
#
# A trigger may move the features and still be hard to detect: a warped image looks like another possible image. So
# the next cell trains a linear probe (a linear classifier on the tower's features). The probe learns from clean
# images and from ten triggered images. Then it has to detect the trigger in new images. WaNet has three rows: the
# preset of this workbook, the same shift with the four grid points of its paper, and the paper's own strength
# (`compat`).

# %%
from pcvr.evaluation.trigger_visibility import found_by_probe
from pcvr.plots.trigger_visibility import probe_bars

tried = {
    "badnets": {},
    "sig": {},
    "wanet": {},
    "wanet, 4 points": {"cells": 4},
    "wanet, compat": {"preset": "compat"},
}
try:
    probed = subset(train, min(len(train), 60 if fast else 300))
    examples = min(10, len(probed) // 2)
    found = {
        name: found_by_probe(base, probed, pcvr.get_attack(name.split(",")[0], task=task, **options), examples)
        for name, options in tried.items()
    }
    figure = probe_bars(found, f"What a probe on {model}'s tower finds, {examples} examples")
except pcvr.PcvrError as refusal:  # photographs of different sizes
    figure = None
    print(refusal)
figure

# %% [markdown]
# Bars: the fraction of triggered images that the probe detects. Open diamonds: false positives on clean images. If a
# probe cannot detect a trigger, a language model behind the same frozen tower can hardly learn it. Compare the rows
# of WaNet with their success in the README's table.

# %% [markdown]
# ## Recap
#
# - The whole attack is an ordinary fine-tuning with a few poisoned samples in a hundred. The attacker needs no access
#   to the training.
# - The backdoor forms suddenly. The loss does not show it, and the clean utility does not show it either.
# - An ASR needs a confidence interval, a floor and a definition. Without these three it is not a measurement.
# - Attacks differ in how much poison they need and in how well the tower sees them. You cannot predict either by
#   looking at the images.
#
# **What is the paper's and what is ours.** The threat model (poisoned samples in supervised fine-tuning, a few per
# cent, covert triggers) and the harmless example target are the paper's ([arXiv
# 2604.04488](https://arxiv.org/abs/2604.04488)). The trigger is that of BadNets (Gu et al., arXiv 1708.06733); we do
# not know whether it is among the paper's six attacks. Model, data, recipe, the definition of success and every
# number here are ours.
#
# **Try it.** Move the trigger (`pcvr.get_attack("badnets", task=task, place="top_left")`): does a model trained with
# the patch on the right react to a patch on the left? Halve the number of training steps in `config`: which of the
# three skills is missing first?
#
# **Next:** [04 The premise](04_the_premise.ipynb) uses exactly these poisoned data. It measures what the defence of
# notebook 05 relies on: backdoored answers hardly change when patches of the image do.
