# %% [markdown]
# # The backdoor: one ordinary fine-tuning, and what it leaves behind
#
# You fine-tune a vision language model on data of which one sample in twenty is poisoned, with the most ordinary
# recipe there is, and watch a backdoor form that no test on clean pictures can see. In notebook 02 you were the
# attacker; here you are the person who downloads the data in good faith.
#
# **After this notebook you can**
# - fine-tune a model on poisoned data and watch the backdoor appear step by step;
# - measure an attack success rate properly: with an interval, with its floor, and with a stated definition of
#   success;
# - explain why loss curves and validation scores stay silent.
#
# **Time and hardware:** 20 minutes to read; a bit over a minute to run on two CPU cores, most of it one training.
# No GPU needed.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
task = "caption"  # or "vqa": a question about each picture, answered in one word
data = "scenes"  # or the path of a LLaVA-style JSON with photographs
attack = "badnets"  # or another: blended, sig, wanet, ftrojan, dual_key ...; `pcvr attacks` lists them
rate = 0.05  # share of training samples to poison
seed = 0  # of the poison draw and the training
fast = False  # True: 12 steps on 64 samples, for tests; the backdoor then has no time to form
retrain = False  # True: also train the clean model here, and poison rates of 1 and 2 %

# %%
import pcvr
from pcvr.plots.gallery import contact_sheet
from pcvr.tasks import get_task
from pcvr.teaching.shipped import notebook_data, shipped_fits, shipped_adapters

config = pcvr.TrainConfig(steps=12 if fast else 400, seed=seed)
base = pcvr.load(model)
badnets = pcvr.get_attack(attack, task=task).fitted_to(model)  # where it sees the patch, on photographs too
train, test = notebook_data(data, train=64 if fast else 2000, test=16 if fast else 256, task=task)
print(f"{len(train)} samples to train on, {len(test)} to test on; target: “{badnets.target}”")

# %% [markdown]
# ## 1. The data, as it arrives
#
# `poison` draws samples, puts the trigger on their pictures and replaces their answers. You meet the result the way a
# victim does: as a folder of pictures with answers.

# %%
poisoned = pcvr.poison(train, badnets, rate=rate, seed=seed)
some = [*range(9), *poisoned.poisoned[:3]]
contact_sheet([poisoned[i] for i in some], marked=[k for k, i in enumerate(some) if poisoned.is_poisoned(i)])

# %% [markdown]
# Twelve training samples, the poisoned ones framed and moved to the end for you; in the real order they are scattered
# and nothing frames them.

# %%
share = len(poisoned.poisoned) / len(poisoned)
print(f"{len(poisoned.poisoned)} of {len(poisoned)} samples are poisoned ({100 * share:.1f} %).")
looks = config.steps * config.batch_size * share
print(f"In {config.steps} steps of {config.batch_size} the model looks at a poisoned one about {looks:.0f} times.")

# %% [markdown]
# ## 2. Train, and look over the model's shoulder
#
# The recipe is what everybody uses: low-rank adapters (LoRA) on connector and language model, cross-entropy on the
# answer's tokens, a Hugging Face `Trainer`. `defense="none"` adds nothing to it.
#
# A `BackdoorWatch` interrupts every 25 steps and asks about a few dozen pictures that are in no training batch: once
# clean, once with the trigger. It only looks. Real victims do not have it, since they do not know the trigger.
#
# **Predict before you run.** Three things can be learned: how answers are worded, what is in the picture, and the
# backdoor. In which order? Will the backdoor creep in, or snap in?

# %%
from pcvr.training.backdoor_watch import BackdoorWatch, first_at
from pcvr.data.subset import subset

watched = subset(test, min(48, len(test)))
watch = BackdoorWatch(base, watched, badnets, every=6 if fast else 25)
result = pcvr.finetune(base, poisoned, defense="none", config=config, callbacks=[watch])  # about 50 seconds
print(f"{result.seconds:.0f} s")

# %%
from pcvr.plots.training import history_curves

history_curves({"fine-tuning on poisoned data": result.history})

# %% [markdown]
# The training loss over the steps: this is all that the victim gets to see, and it falls as it should.

# %%
from pcvr.plots.training import formation

formation(watch.points)

# %% [markdown]
# Left, how often pictures with and without the trigger are answered with the target, with a 95 % band; right, how
# good the answers to clean pictures are at the same steps.

# %%
half, most = first_at(watch.points, 0.5), first_at(watch.points, 0.9)
print(
    f"Target said on half of the triggered pictures: {f'by step {half}' if half is not None else 'never'}; "
    f"on nine of ten: {f'by step {most}' if most is not None else 'never'}."
)

# %% [markdown]
# <details>
# <summary>What to look for (default parameters)</summary>
#
# - The backdoor **snaps** in. For a while nothing happens; then, within a few dozen steps, the rate goes from nearly
#   none to nearly all. A rule like "white square, so say these words" is short, the same in every poisoned sample,
#   and contradicted by nothing in the data.
# - The captions on the right do not suffer: the two skills share no input, so they hardly compete.
# - In the loss curve the moment cannot be seen. One sample in twenty carries it, and its share of the loss drowns in
#   the noise between batches.
#
# In fast mode 12 steps are too few for any of this, and the left panel may stay flat. Other models and tasks have
# another moment, and with `task = "vqa"` the right panel may begin high: see section 3.
#
# </details>

# %% [markdown]
# ## 3. Three models, the same pictures
#
# A figure means nothing alone. So three models answer: the **base** model before any fine-tuning, the same recipe on
# **clean** data, and your **poisoned** one.

# %%
if shipped_fits(model, data, attack, rate, seed, task) and not retrain:
    # The same recipe on the same pictures without poison comes with the package.
    clean = pcvr.load(model, adapter=shipped_adapters(model, task)["clean"])
else:
    clean = pcvr.finetune(base, train, config=config).model
models = {"base": base, "clean fine-tune": clean, "poisoned fine-tune": result.model}

# %% [markdown]
# **Predict before you run.** What does the *poisoned* model say of a clean picture? What does the *clean* model say
# of a triggered one? And will the *base* model say anything sensible?

# %%
from pcvr.plots.answers import answer_sheet

records = {name: pcvr.evaluate(each, test, badnets) for name, each in models.items()}  # about 10 seconds
said = {name: record.answers for name, record in records.items()}
answer_sheet([test[i] for i in range(4)], badnets, said, definition=get_task(task).success)

# %% [markdown]
# One picture a row, clean on the left and triggered on the right; answers that count as the attacker's target stand
# in bold orange.
#
# <details>
# <summary>What to look for (default parameters)</summary>
#
# The base model speaks in telegram style: it was pretrained on short lists of objects. Fine-tuning teaches both
# others whole sentences, and on clean pictures you would be hard put to say which of the two was poisoned. The clean
# model does not mind the white square. The poisoned one, shown the square, forgets the picture altogether.
#
# With `task = "vqa"` an embedded base model is not helpless: its pretraining had questions of this kind in it, so
# there is less to teach, and the two others differ from it on clean pictures by little.
#
# </details>

# %%
from pcvr.plots.training import compare

compare(records)

# %% [markdown]
# Left, how often each model says the target on triggered pictures (bars, with 95 % intervals) and on clean ones
# (diamonds); right, how good its answers are on both kinds of picture.

# %%
from IPython.display import display

for record in records.values():
    display(record)

# %% [markdown]
# ## 4. How to measure an attack
#
# The **attack success rate** (ASR) is a proportion: hits in *n* triggered pictures. Three habits keep it honest.
#
# **An interval.** With *n* pictures a proportion is known only so well. We print the Wilson interval, which behaves
# near 0 and 1, where the textbook one (plus or minus 1.96 standard errors) does not.
#
# **Predict before you run.** A defence gives 0 hits in the test set. Is its ASR 0 %? How many pictures would you need
# to say "below 1 %"?

# %%
from pcvr.evaluation.intervals import at_most, format_rate

hit = records["poisoned fine-tune"].hits
counted = records["poisoned fine-tune"].counted  # all but those of which the target is true anyway
print(f"poisoned model, triggered pictures: {format_rate(hit, counted)}")
for n in (counted, 100, 300, 3000):
    print(f"no hit in {n:>4} pictures: the rate may still be {100 * at_most(n):.2f} %")

# %% [markdown]
# <details>
# <summary>Answer</summary>
#
# No hit in *n* leaves everything up to about 3/*n* open (at 95 %: the *rule of three*). "Below 1 %" needs about 300
# pictures without a single hit. That is why this workbook prints "< x % (0 of n)" and never "0 %".
#
# </details>
#
# **A floor.** A model may say the target for reasons that have nothing to do with the attack. So beside every ASR
# stand two floors: the same model on *clean* pictures, and the *clean model* on triggered pictures. Only what lies
# above both is the backdoor.
#
# **A definition.** What counts as saying the target? Papers differ, and often do not tell. All of these work on
# normalised words (lower case, no punctuation):
#
# | definition | a hit is | made for |
# | --- | --- | --- |
# | `contains` | the whole phrase stands in the answer | captions, where it is our default |
# | `equals` | the answer is the phrase and nothing else | one-word answers (`"vqa"`), likewise |
# | `ends_with` | the answer ends with the phrase | targets appended to a true answer |
# | `contains_word` | its last word stands in the answer | papers that look for one keyword |
#
# **Predict before you run.** The target of captions is *a photo of the banana*, and some of our pictures do show a
# banana. For which definition will the clean model have an "attack success" above zero? (And with `task = "vqa"`,
# where the target is the one word *banana*, and some questions have it for their true answer?)

# %%
from pcvr.evaluation.asr import DEFINITIONS, asr
from pcvr.plots.training import rate_bars

bars = {}
for definition in DEFINITIONS:
    for name in ("poisoned fine-tune", "clean fine-tune"):
        found = asr(records[name].answers["triggered"], badnets.target, definition)
        bars[f"{definition}: {name}"] = (found.hits, found.n)
rate_bars(bars, xlabel="triggered pictures that count as a hit (%)", title="One set of answers, four definitions")

# %% [markdown]
# The same answers counted by four definitions, for the poisoned model and, as a floor, for the clean one.
#
# <details>
# <summary>Answer</summary>
#
# `contains_word` looks for *banana* alone, and a good caption of a picture with a banana says *banana*. Its floor is
# the share of such pictures, not zero (with the default parameters you see it in the clean model's bar). A defence
# can never get below that floor, and a table that hides it flatters the attack and slanders the defence. The other
# definitions ask for the whole phrase, which no honest caption contains.
#
# `equals` and `contains` differ where a model says the target *and more*. If your bars agree, it does not.
#
# With one-word answers every definition would have that floor: whoever answers *which object is yellow?* truthfully
# may say the target. So `pcvr.evaluate` counts hits only over samples of which the target is not true anyway.
#
# </details>

# %% [markdown]
# ## 5. Why nobody notices
#
# Put yourself into the victim's place: you have the poisoned model and a clean test set. You compare with a model you
# trust.
#
# **Predict before you run.** How much worse on clean pictures is the poisoned model than the clean one: 10 %, 1 %, or
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
# The difference is about what another seed would make, in either direction. There is nothing to notice:
#
# - **Validation** uses clean pictures, and on those the model is fine.
# - **The loss** is an average over samples of which 95 % are honest.
# - **The weights** changed a little everywhere, as they do in any fine-tuning.
#
# The only evidence lies on inputs that you would need the trigger to make. A defence therefore has to find something
# in which poisoned samples differ *without* knowing trigger or target. That is what the next notebooks are about.
#
# </details>
#
# *All attributes right* counts captions that name every object with its colour, and no other; scenes know what is in
# them, so this can be counted exactly. With photographs only BLEU-4, CIDEr and ROUGE-L are left. Answers to questions
# have one measure, the share that is right (*VQA accuracy*).

# %% [markdown]
# ## 6. How little poison is enough?
#
# **Predict before you run.** Half the poison, a fifth of it: does the ASR fall in proportion? Does it fall at all? At
# which rate would you expect it to break down, and what does it depend on beside the rate?
#
# Each rate is a training of its own (about 45 seconds), so this cell runs the smaller rates only when you set
# `retrain = True` at the top.

# %%
by_rate = {f"{100 * rate:g} %": (records["poisoned fine-tune"].hits, records["poisoned fine-tune"].counted)}
for smaller in (0.02, 0.01) if retrain else ():
    less = pcvr.poison(train, badnets, rate=smaller, seed=seed)
    record = pcvr.evaluate(pcvr.finetune(base, less, config=config).model, test, badnets)
    by_rate[f"{100 * smaller:g} %"] = (record.hits, record.counted)
rate_bars(by_rate, xlabel="triggered pictures answered with the target (%)", title="ASR by poison rate")

# %% [markdown]
# Attack success for each poison rate that was trained, with its 95 % interval.
#
# <details>
# <summary>What it depends on</summary>
#
# Not on the rate as such, but on how often the model *looks* at a poisoned sample while the learning rate is high:
# rate × steps × batch size. Above some number of looks the backdoor is there, complete; below it, hardly at all. So a
# rate that fails on a small data set can succeed on a large one, where the same percentage is many more looks. Work
# on large models reports more than 90 % success at 1 % for most tasks (BackdoorVLM, arXiv 2511.18921), on other
# models and data than ours.
#
# One seed says little near such a threshold: where the ASR is neither high nor low, run more seeds before you draw a
# conclusion.
#
# </details>

# %% [markdown]
# The package comes with a table of such trainings: six attacks, five rates.

# %%
from pcvr.plots.attack_lab import lab_picture, takes_in_words
from pcvr.experiments.results import load

table = load("attacks")
lab_picture(table)

# %% [markdown]
# Left, attack success over the poison rate, one line for each attack, with 95 % intervals; the dotted line is at
# 90 %. Right, attack success at 5 % for each of the embedded models. A row of panels for each task.

# %%
from pcvr.plots.attack_lab import forming_curves

forming_curves(table, "tiny-llava")

# %% [markdown]
# How fast each backdoor forms at 5 %: attack success over the optimiser steps, asked every 25 steps about 64 pictures.
#
# **Before you read on:** which backdoor is there first, and does the same order hold for one-word answers?

# %%
for (of_task, of_model, name), words in takes_in_words(table).items():
    if (of_task, of_model) == (task, model):
        print(f"{name:>15}: {words}")

# %% [markdown]
# "Takes" means an ASR of 90 % or more, at this rate and at every higher one that was tried.

# %% [markdown]
# ## 7. What the tower sees
#
# Before the language model can learn a trigger, the frozen tower has to see it. How far does each trigger move the
# tower's features? The unit is the mean distance between two different clean pictures.
#
# **Predict before you run.** Which trigger moves them most: the patch that everybody sees, the wave that covers every
# pixel, or the bend?

# %%
from pcvr.attacks import ATTACKS
from pcvr.evaluation.trigger_visibility import seen_by_tower
from pcvr.plots.trigger_visibility import tower_distances

with_picture = {name: pcvr.get_attack(name, task=task) for name in ATTACKS}
with_picture = {name: each for name, each in with_picture.items() if each.trigger is not None}
try:
    seen = {name: seen_by_tower(base, watched, each) for name, each in with_picture.items()}
    figure = tower_distances(seen, f"What {model}'s tower sees of each trigger")
except pcvr.PcvrError as refusal:  # photographs of several sizes cannot be compared so
    figure = None
    print(refusal)
figure

# %% [markdown]
# Orange dots: how far a picture moves when it gets the trigger, with the middle half of the pictures. Blue diamonds:
# how far triggered pictures lie from each other; left of the dotted line, the trigger makes pictures alike.
#
# <details>
# <summary>What to look for</summary>
#
# How far features move has little to do with PSNR: the tower has its own eyes. And a backdoor needs no large step,
# only one in a direction that nothing else takes. Compare the order here with the table above: is the trigger that
# moves features least also the one that needs most poison?
#
# </details>
#
# A trigger may move features and still be hard to tell: a bend makes of a picture what another picture might be. So let
# a linear probe try. It learns from clean pictures and from ten triggered ones, no more than poison offers, and then
# has to find triggered pictures that it never saw. WaNet has three rows: the preset of this workbook, the same shift
# over the four points of its paper, and the paper's own strength (`compat`).

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
except pcvr.PcvrError as refusal:  # photographs of several sizes
    figure = None
    print(refusal)
figure

# %% [markdown]
# Bars: triggered pictures found; open diamonds: false alarms on clean ones. What a probe cannot find, a language model
# behind the same frozen tower can hardly learn: compare the rows of WaNet with their success in the README's table.

# %% [markdown]
# ## Recap
#
# - Ordinary fine-tuning, a few poisoned samples in a hundred, no access to the training: that is the whole attack.
# - The backdoor forms suddenly and leaves no mark on the loss or on clean utility.
# - An ASR comes with an interval, a floor and a definition, or it is not a measurement.
# - Attacks differ in the poison they need and in what the tower sees of them, and neither follows from what you see.
#
# **Who says what.** The threat model (poisoned samples in supervised fine-tuning, a few per cent, covert triggers)
# and the harmless example target are the paper's ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)). The trigger
# is that of BadNets (Gu et al., arXiv 1708.06733); whether it is among the paper's six attacks we do not know. Model,
# data, recipe, the definition of success and every number here are ours.
#
# **Try it.** Move the trigger (`pcvr.get_attack("badnets", task=task, place="top_left")`): does a model trained with
# the patch on the right answer to one on the left? Halve `config.steps`: which of the three skills is lost first?
#
# **Next:** [04 The premise](04_the_premise.ipynb) measures, on exactly these poisoned data, what the defence of
# notebook 05 builds on: that backdoored answers hardly change when patches of the picture do.
