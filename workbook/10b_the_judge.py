# %% [markdown]
# # The judge: flagged is not poisoned
#
# An audit gives evidence, and a person decides. You judge the samples that the audit of notebook 10 flagged, and are
# told how often you were right. Then you look at two questions that every audit has to answer: how many honest samples
# does a threshold flag, and are honest data that repeat themselves suspicious?
#
# **After this notebook you can**
# - judge a flagged sample by its picture, its views, its label and a map of where a trigger may be;
# - compute how many honest samples a threshold is expected to flag;
# - say why an answer that many samples share is no evidence of poison.
#
# <!-- time --> You need no GPU and no download.

# %% tags=["parameters"]
model = "tiny-llava"  # an embedded model, a folder, or a hub id
data = "album"  # or the path of a LLaVA-style or chat-format JSON of your own
seed = 0  # of album and audit
device = "auto"  # a GPU if there is one, else the CPU; or "cpu", "cuda"
fast = False  # True: fewer photographs, for tests

# %%
import tempfile
from pathlib import Path

import pcvr
from pcvr.data import open_data
from pcvr.teaching import check
from pcvr.teaching.album import unsealed, write_album

base = pcvr.load(model, device=device)
work = Path(tempfile.mkdtemp(prefix="pcvr-notebook-10b-"))
if data == "album":
    folder = write_album(work / "album", *((180, 24) if fast else (480, 64)), seed)
    source, truth = folder / "train.json", unsealed(folder)
else:
    source, truth = Path(data), None
train = open_data(source, skip_bad=True, check_pictures=True)
found = pcvr.audit(train, base, config=pcvr.AuditConfig(seed=seed))
print(found)

# %% [markdown]
# This is the album of notebook 10 and its audit: drawn objects on photographed surfaces, delivered by three sources.
# Nothing can be downloaded here, so the album is made, and its truth is sealed in a file that the audit does not read.

# %% [markdown]
# ## 1. You are the judge
#
# The next cell draws samples: flagged ones, ordinary ones, and the most
# suspicious of those that were not flagged. Half a minute for each is enough.
#
# **Predict before you go on.** Which will be harder to judge: by the picture, or by the label?

# %%
from pcvr.widgets.judge import draw_cases, judge

cases = draw_cases(found, 4 if fast else 8, seed, truth)
box, controls = judge(cases)
box

# %% [markdown]
# Choose a case with the slider. You see the picture, two views of it (patches from another picture), the label, and
# what the base model says. *Show the map* marks where the picture looks like the trigger; all maps share one scale.
# Then judge: **Honest** or **Poison**. You are told at once, and your hits are counted beside the audit's.
#
# **Try this**
#
# - Judge half of the cases without the map, the others with it. What does the map change?
# - Put the trigger into words: what is it, where, and which answer goes with it?
# - Find an unflagged case whose label the model did not expect. Why is it not poison?

# %%
from pcvr.widgets.judge import case_picture

passed = [k for k, case in enumerate(cases) if not case.flagged] or [*range(len(cases))]
case_picture(cases, max(passed, key=lambda k: cases[k].score), with_map=True)

# %% [markdown]
# The most suspicious of the cases that were *not* flagged, with its map. Red cells make the picture look like the
# trigger: covering them takes the likeness away. All maps share one scale, so a pale map means little evidence.
#
# <details>
# <summary>What is hidden in the album (spoiler)</summary>
#
# A blue sticker in the upper left corner of the part that the model sees, with the same answer every time. All of these
# samples come from one source. On wide photographs the sticker lies somewhere in the middle of the file: whoever put it
# there knew the processor.
#
# </details>
#
# Now open the sealed truth.

# %%
if truth is not None:
    marked = {name for name, bad in zip(found.store.ids(), found.flagged, strict=True) if bad}
    print(f"poisoned: {len(truth)} of {len(train)}; found: {len(truth & marked)}; false alarms: {len(marked - truth)}")
    print(f"expected false alarms: {found.verdict.expected * len(train):.1f}")
else:
    print("Nobody has sealed the truth of your data: the flagged samples are evidence, no proof.")

# %% [markdown]
# ## Exercise 10c: what does a threshold cost?
# <!-- card difficulty=3 importance=4 minutes=12 -->
#
# The score of a sample adds up parts. `rest` is the sum of those that do not depend on the picture. The last part says
# how much the picture looks like the trigger, and for an honest sample it exceeds $x$ with probability $10^{-x}$. So a
# threshold $t$ flags an honest sample with probability
#
# $$\min\left(1,\ 10^{\,\text{rest} - t}\right).$$
#
# Write `expected_alarms`: the expected number of honest samples that the threshold flags.


# %% tags=["exercise"]
def expected_alarms(rest, threshold: float) -> float:
    """Return the expected number of flagged honest samples; `rest` is an array ``[N]``."""
    # --- solution
    return sum(min(1.0, 10.0 ** (part - threshold)) for part in rest)
    # --- stub
    # | # A probability for each sample, and never above 1. What is the expected number of hits?
    # | return ...
    # --- end


# %%
check.expected_alarms(expected_alarms)

# %% [markdown]
# ## 2. Is repetitive data suspicious?
#
# A data set of yes/no questions has two answers, over and over. A rule that flags repeated answers would flag it all.
# The album has such a file: questions about the same photographs, the stickers included, with honest answers.
#
# **Predict before you run.** Three of four answers are *no*. What will the audit say?

# %%
if truth is not None:
    questions = open_data(folder / "questions.json", task="vqa", n=120 if fast else 240)
    print(pcvr.audit(questions, base))

# %% [markdown]
# No accusation, as it should be. An answer that many samples have is a class of the data. A backdoor needs an answer
# that ordinary samples lack.

# %% [markdown]
# ## What this does not show
#
# **Your data.** The album's trigger is easy to see once you know where to look. Other triggers are not, and a person
# who sees eight cases has not seen the rest. **No evidence is no proof.** [docs/audit.md](../docs/audit.md) lists what
# the audit cannot see: fewer than a handful of poisoned samples, or labels that the base model expects anyway, pass.
#
# ## Recap
#
# - A map and two views show where the evidence comes from. The verdict is yours.
# - A threshold without an expected number of false alarms is a guess.
# - An answer that repeats is a class of the data, as long as ordinary samples have it too.
#
# **Next:** [docs/practitioner.md](../docs/practitioner.md) says which defence fits what you have, and what none of this
# protects against. To go back to the start: [00 Start here](00_start_here.ipynb).
