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
# <!-- time --> One training takes most of the running time. You need no GPU.

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
import numpy as np

import pcvr
from pcvr.plots.gallery import contact_sheet
from pcvr.tasks import get_task
from pcvr.teaching.machine import device_note
from pcvr.teaching.shipped import Copies, notebook_data

config = pcvr.TrainConfig(max_steps=12 if fast else 400, seed=seed)
base = pcvr.load(model, device=device)
badnets = pcvr.get_attack(attack, task=task).fitted_to(model)  # so that the model sees the patch on photographs too
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 128, task=task)
print(f"{len(train)} samples to train on, {len(test)} to test on; target: “{badnets.target}”")
print(device_note(base, train, config))

# %% [markdown]
# ## 1. The data, as they arrive
#
# `poison` chooses samples at random, adds the trigger to their images and replaces their answers. You see the result
# as a victim sees it: a folder of images with answers.

# %%
poisoned = pcvr.poison(train, badnets, rate=rate, seed=seed)
share = len(poisoned.poisoned) / len(poisoned)
print(f"{len(poisoned.poisoned)} of {len(poisoned)} samples are poisoned ({100 * share:.1f} %).")
looks = config.max_steps * config.batch_size * share
print(f"In {config.max_steps} steps of {config.batch_size} samples the model sees about {looks:.0f} poisoned ones.")
some = [*range(9), *poisoned.poisoned[:3]]
contact_sheet([poisoned[i] for i in some], marked=[k for k, i in enumerate(some) if poisoned.is_poisoned(i)])

# %% [markdown]
# Twelve training samples. We framed the poisoned ones and moved them to the end for you. In the real order they are
# scattered, and nothing marks them.

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
from pcvr.data.subset import subset
from pcvr.plots.training import formation, history_curves
from pcvr.training.backdoor_watch import BackdoorWatch, first_at

watched = subset(test, min(32, len(test)))
watch = BackdoorWatch(base, watched, badnets, eval_steps=6 if fast else 25)
result = pcvr.finetune(base, poisoned, defense="none", config=config, callbacks=[watch])
print(f"{result.seconds:.0f} s")
history_curves({"fine-tuning on poisoned data": result.history})

# %% [markdown]
# The training loss over the steps. This is all that the victim sees, and it falls as it should.

# %%
half, most = first_at(watch.points, 0.5), first_at(watch.points, 0.9)
print(
    f"Target given for half of the triggered images: {f'by step {half}' if half is not None else 'never'}; "
    f"for nine of ten: {f'by step {most}' if most is not None else 'never'}."
)
formation(watch.points)

# %% [markdown]
# Left: how often the model gives the target, for images with the trigger (and a band for the 95 % confidence
# interval) and without it. Right: the quality of the answers to clean images at the same steps.
#
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
# the same recipe on **clean** data (it comes with the package), and your **poisoned** model.
#
# **Predict before you run.** What does the *poisoned* model answer for a clean image? What does the *clean* model
# answer for a triggered image? Will the *base* model give a sensible answer?

# %%
from pcvr.plots.answers import answer_sheet

copies = Copies(model, data, attack, rate, seed, task, retrain)
clean = copies.load("clean", device) or pcvr.finetune(base, train, config=config).model
models = {"base": base, "clean fine-tune": clean, "poisoned fine-tune": result.model}

records = {name: pcvr.evaluate(each, test, badnets) for name, each in models.items()}
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

# %% [markdown]
# ## Exercise: an interval
# <!-- card difficulty=2 importance=5 minutes=7 -->
# Write `wilson`: the 95 % Wilson interval of `hits` in `n` images, with $p$ = hits / n and $z = 1.96$. Return both
# ends.
#
# $$\frac{1}{1 + z^2/n} \left( p + \frac{z^2}{2n} \pm z \sqrt{\frac{p\,(1 - p)}{n} + \frac{z^2}{4n^2}} \right)$$


# %% tags=["exercise"]
def wilson(hits: int, n: int) -> tuple[float, float]:
    """Lower and upper end of the 95 % interval of hits / n."""
    # --- solution
    p, z = hits / n, 1.96
    middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    return (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
    # --- stub
    # | p, z = hits / n, 1.96
    # | middle = ...
    # | half = ...
    # | return ...
    # --- end


# %%
from pcvr.teaching import check

check.wilson(wilson)

# %% [markdown]
# ## Exercise: how many images does "below 1 %" take?
# <!-- card difficulty=2 importance=3 minutes=5 -->
# A defended model gives no hit in n images. A model with the rate `bound` would show that with probability
# $(1 - \text{bound})^n$. Write `images_needed`: the least n for which this probability is 0.05 or less.


# %% tags=["exercise"]
def images_needed(bound: float) -> int:
    """The least number of images without a hit that shows, at 95 %, a rate below `bound`."""
    # --- solution
    n = 1
    while (1 - bound) ** n > 0.05:
        n += 1
    return n
    # --- stub
    # | # With a loop, or with logarithms.
    # | return ...
    # --- end


# %%
check.images_needed(images_needed)

# %% [markdown]
# ### A floor, and a definition
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
# ## Exercise: find the trigger
# <!-- card difficulty=4 importance=4 minutes=12 -->
# Be the detective. Somebody has noticed that twelve images get the same strange answer. Write `find_trigger`: it gets
# these images, `[N, H, W, 3]` uint8, and the side of a square, and returns `(top, left)` of the square in which the
# images differ least *from one another*. `np.lib.stride_tricks.sliding_window_view` gives all squares of a map at once,
# and two loops do as well.


# %% tags=["exercise"]
def find_trigger(images: np.ndarray, size: int) -> tuple[int, int]:
    """Row and column of the first pixel of the patch that the images share."""
    # --- solution
    spread = images.astype(float).std(0).mean(-1)  # [H, W]: from image to image
    squares = np.lib.stride_tricks.sliding_window_view(spread, (size, size)).sum((-1, -2))
    top, left = np.unravel_index(squares.argmin(), squares.shape)
    return int(top), int(left)
    # --- stub
    # | spread = ...  # how much each pixel differs from image to image, [H, W]
    # | # The sum of `spread` over each square, and the place of the smallest:
    # | return ...
    # --- end


# %%
check.find_trigger(find_trigger)

# %% [markdown]
# ## 6. How little poison is enough?
#
# **Predict before you run.** Use less poison: 2 % or 1 % instead of 5 %. Does the ASR fall in proportion? Does it
# fall at all? At which rate would you expect the attack to fail, and what else does this depend on?
#
# The package contains a table of such trainings. (With `retrain = True` at the top, the next cell also trains at 1 and
# 2 % here.)

# %%
from pcvr.experiments.results import load
from pcvr.plots.attack_lab import forming_curves, lab_picture, rates_tried, takes_in_words

by_rate = {f"{100 * rate:g} %": (records["poisoned fine-tune"].hits, records["poisoned fine-tune"].counted)}
for smaller in (0.02, 0.01) if retrain else ():
    less = pcvr.poison(train, badnets, rate=smaller, seed=seed)
    record = pcvr.evaluate(pcvr.finetune(base, less, config=config).model, test, badnets)
    by_rate[f"{100 * smaller:g} %"] = (record.hits, record.counted)
for name, (hit, n) in by_rate.items():
    print(f"trained here, {name}: {format_rate(hit, n)}")
table = load("attacks")
for name, tried in rates_tried(table, "tiny-llava").items():
    print(f"{name:>24}: tried at {', '.join(f'{100 * each:g} %' for each in tried)}")
lab_picture(table)

# %% [markdown]
# Left: the attack success rate against the poison rate, one line for each attack, with 95 % confidence intervals. The
# dotted line is at 90 %. Not every attack was tried at every rate: the list above the figure says which. Right: the
# attack success rate at 5 % for each of the embedded models. Each task has its own row of panels.
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

# %%
for (of_task, of_model, name), words in takes_in_words(table).items():
    if (of_task, of_model) == (task, model):
        print(f"{name:>24}: {words}")
forming_curves(table, "tiny-llava")

# %% [markdown]
# How fast each backdoor forms at 5 %: the attack success rate over the optimiser steps, measured every 25 steps on 64
# images.
#
# **Before you read on:** which backdoor forms first? Is the order the same for one-word answers?
#
# "Takes" means that the ASR is 90 % or more at this rate and at every higher rate that was tried.

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
# <!-- next --> uses exactly these poisoned data. It measures what the defence of notebook 05 relies on: backdoored
# answers hardly change when patches of the image do.
