# %% [markdown]
# # Meet the model: from patches to tokens to words
#
# You follow one image through a vision-language model. The model cuts the image into patches, turns the patches into
# tokens, and answers in words. At the end you compose an image of your own and ask about it.
#
# **After this notebook you can**
# - say what goes into the model and what comes out, token by token;
# - draw the three connectors in use today (projector, Q-Former, pixel shuffle) and count the image tokens of each;
# - write greedy decoding (always take the most likely word) and say what it discards;
# - say what the model can see, and what it only guesses.
#
# <!-- time --> You need no GPU and no download. Nothing is trained here.
#
# *In a hurry?* Sections 1 and 4 are enough for the rest of the workbook.

# %% tags=["parameters"]
model = "tiny-llava"  # tiny-llava, tiny-blip2, tiny-idefics3, a folder, or a hub id
task = "caption"  # caption: ask for all objects; vqa: ask one question
data = "scenes"  # or the path of a LLaVA-style JSON with your own photographs
seed = 0  # of the images and of every random mask
fast = False  # True: fewer images, for tests

# %% [markdown]
# ## 1. What goes in and what comes out

# %%
import pcvr
from pcvr.data import subset
from pcvr.plots.gallery import contact_sheet
from pcvr.analysis.question_accuracy import usual_question

vlm = pcvr.load(model)
everything = pcvr.open_data(data, split="test" if data == "scenes" else "all", task=task, seed=seed)
samples = list(subset(everything, min(len(everything), 6 if fast else 12)))

questions = [usual_question(vlm, each, task) for each in samples]
sample, question = samples[1], questions[1]
answer = pcvr.generate(vlm, [sample.image], [question])[0]
print("image:   ", sample.image.dtype, sample.image.shape, "levels", sample.image.min(), "to", sample.image.max())
print("question:", question)
print("answer:  ", answer)
contact_sheet(samples[:6], captions=False, title="Six images")

# %% [markdown]
# The figure shows six of the images. You will follow the second one, number 1, through this notebook. If you set
# `data` to a file of your own, the figure shows your photographs.
#
# An image and a text go in, and a text comes out. First, two things happen to the question. The **chat template**
# puts special tokens around it that say who is speaking. Then the **tokenizer** splits the whole text into tokens and
# gives each token its number in the vocabulary.
#
# **Predict before you run.** How many tokens will the question take, special tokens included? And how many will the
# image take?

# %%
from pcvr.analysis.decoding import model_input
from pcvr.plots.model import token_strip

asked = model_input(vlm, sample.image, question)
print("in its template:", vlm.prompt(question))
print(f"{len(asked.tokens)} tokens, {asked.is_image.sum()} of them for the image")
token_strip(asked)

# %% [markdown]
# The figure shows every token that the language model reads, in reading order. The number below each token is its
# position in the vocabulary.
#
# <details>
# <summary>What to look for</summary>
#
# The image takes more tokens than the question. All image tokens have *the same number*. This number is a placeholder
# without content. Before the first layer, the model replaces the vectors at these places with the output of the
# *connector* (section 3). So the vectors that the model reads there do not come from the vocabulary. The next two
# sections show where these vectors come from.
#
# (The special tokens differ between models. LLaVA puts the image into the user's message. Idefics3 frames it with
# special tokens of its own. BLIP-2 has no chat template, and its image comes first.)
#
# </details>

# %% [markdown]
# ## 2. The image becomes patches
#
# The **vision tower** is a transformer for images (ViT, [arXiv 2010.11929](https://arxiv.org/abs/2010.11929)). It
# cannot process single pixels: attention over every pair of pixels would cost far too much. So the image is cut into
# square **patches**, and each patch becomes one token.

# %%
from pcvr.analysis.anatomy import anatomy, busiest_patch, tower_layers
from pcvr.plots.model import patch_figure

seen_by = anatomy(vlm, sample.image)
layers = tower_layers(vlm, sample.image)  # [layers + 1, down, across, width]
at = busiest_patch(seen_by.image, seen_by.grid)
patch_figure(seen_by.image, seen_by.grid, at, layers[-1][at])

# %% [markdown]
# Left: the patch grid of this model's tower, with one patch framed. Middle: that patch enlarged. Right: the vector
# that the tower outputs for it.
#
# A patch has hundreds of pixel values, and one vector represents them all. What is in that vector? We cannot say what
# any single number in it means. But we can ask which patches the tower finds *similar*, by the cosine of the angle
# between two vectors (1: same direction; 0: nothing in common). The first map in the next figure compares raw pixels.
# The second compares the tower's output vectors.
#
# **Predict before you run.** In which map is the framed patch more similar to *other patches of the same object*? In
# which map is it more similar to *everything of the same colours*?

# %%
from pcvr.analysis.anatomy import likeness, patch_pixels
from pcvr.plots.model import likeness_figure

pixels = patch_pixels(seen_by.image, seen_by.grid)
likeness_figure(seen_by.image, at, {"by its pixels": likeness(pixels, at), "after the tower": likeness(layers[-1], at)})

# %% [markdown]
# The similarity of each patch to the framed patch: on the left by its pixels, on the right by its vector at the end
# of the tower.
#
# <details>
# <summary>What to look for</summary>
#
# By pixels, a patch is similar to every patch with the same colours in the same places, wherever it lies. In the
# tower, every patch attends to all other patches, layer after layer. So its vector also describes its surroundings.
# Patches of one object often become more similar, and a patch of the same colour elsewhere becomes less similar.
# (This is not always so: these towers are small.)
#
# Remember one thing: after the tower, *no vector belongs to its patch alone*.
#
# </details>

# %% [markdown]
# ## 3. Patches become image tokens: three connectors
#
# The tower's vectors were made for images, and the language model's vectors for words. A **connector** sits between
# the two. The model families differ mainly in this part:
#
# | family | connector | what it does |
# | --- | --- | --- |
# | LLaVA ([2310.03744](https://arxiv.org/abs/2310.03744)) | **MLP projector** | each patch by itself, two layers |
# | BLIP-2 ([2301.12597](https://arxiv.org/abs/2301.12597)) | **Q-Former** | learned queries attend to all patches |
# | Idefics3 ([2408.12637](https://arxiv.org/abs/2408.12637)) | **pixel shuffle** | groups of patches, one layer |
#
# (SmolVLM is an Idefics3 with smaller parts.) The package has a tiny model of each family. Each has the same parts as
# the original, and the same classes of `transformers` open it as the large ones.
#
# **Predict before you run.** LLaVA's tower here makes 6 × 6 patches. Idefics3's tower makes 8 × 8, and the pixel
# shuffle joins 2 × 2 of them. BLIP-2's tower makes 6 × 6 patches as well, and its Q-Former has 16 queries. How many
# image tokens does each language model read? Which connector has the most parameters (trained numbers)?

# %%
from pcvr.analysis.anatomy import anatomy_table, installed_models

names = list(dict.fromkeys([*installed_models(), model]))
family = {name: vlm if name == model else pcvr.load(name) for name in names}
drawn = {name: anatomy(each, sample.image) for name, each in family.items()}
from pcvr.plots.connectors import connector_figure

print(anatomy_table(list(drawn.values())))
connector_figure(list(drawn.values()))

# %% [markdown]
# From top to bottom: the image in its patches, the tower, its patch tokens (each in the mean colour of its patch, first
# as a field and then as a row), the connector, and the image tokens. A line connects an image token with the patches
# from which it is computed. A darker line means a larger weight. One token is framed as an example, with its patches.
#
# <details>
# <summary>What to look for</summary>
#
# - **Projector:** one line for each token. Nothing is mixed and nothing is lost, and positions are kept: the eighth
#   token is the eighth patch. The price is length: the language model reads as many tokens as there are patches (576
#   in LLaVA-1.5).
# - **Pixel shuffle:** four lines for each token. There are a quarter as many tokens, each four times as wide before
#   the linear layer narrows it. Positions are kept on a coarser grid.
# - **Q-Former:** lines from everywhere, some darker than others. There are as many tokens as queries, whatever the
#   size of the image. Nothing in this design ties a token to a position. Each query learns what to look for. This
#   connector is by far the largest: it is a small transformer itself.
#
# Two of the towers output one more token (+ 1), which represents the whole image. LLaVA drops this token before the
# projector. BLIP-2's Q-Former reads it like any other token.
#
# Fewer tokens make the language model faster but give it less information. None of the three is "the right one", and
# each can be poisoned.
#
# </details>

# %% [markdown]
# ### Where the queries look
#
# In a Q-Former, each query attends to the patches (*cross-attention*: from queries on one side to patches on the
# other). The image token of a query has no position. But we can still ask which patches the query *read*.

# %%
from pcvr.analysis.anatomy import nearest_words
from pcvr.analysis.attention import query_maps
from pcvr.data.scenes import COLORS, KINDS
from pcvr.plots.connectors import query_figure
from pcvr.plots.model import word_map

with_queries = [name for name, each in drawn.items() if each.connector == "queries"]
figure = None
if with_queries:
    name = with_queries[0]
    maps = query_maps(family[name], sample.image).mean((0, 1))  # mean over layers and heads: [queries, down, across]
    figure = query_figure(drawn[name].image, maps, title=f"{name}: where each query looks")
else:
    print("No model with a Q-Former is installed here.")
figure

# %% [markdown]
# One panel for each query, bright where the query attends. The percentage is the attention on the brightest patch. If
# a query attended to all 36 patches equally, each would get less than 3 %.
#
# <details>
# <summary>What to look for</summary>
#
# In our tiny BLIP-2 the panels go through the image in reading order: query 1 looks at the top left. The model did
# not find this order by itself. In pretraining, an extra loss trained the heads of the Q-Former's first layer to look
# at one square of the image for each query. Without this loss, all queries looked everywhere, and the model knew what
# objects there were but not where. The large BLIP-2 had no such loss. Its queries specialised by themselves on 129
# million images, and they follow no order.
#
# </details>

# %% [markdown]
# ### What an image token means
#
# The language model reads image tokens and words in one sequence, as vectors of one space. So we can ask which word's
# vector is nearest to an image token.
#
# **Predict before you run.** Which words will be nearest to the tokens of the background?

# %%
figure = None
with_places = [name for name, each in drawn.items() if each.connector != "queries"]
try:
    name = model if model in with_places else with_places[0]
    grid = tuple(side // drawn[name].merge for side in drawn[name].grid)
    named = [nearest_words(family[name], sample.image, list(words)) for words in (KINDS, COLORS)]
    figure = word_map(drawn[name].image, grid, named)
    print(f"{name}:")
except pcvr.PcvrError as refusal:  # the words of the scenes are single tokens of the embedded models only
    print(refusal)
figure

# %% [markdown]
# On the right, each image token shows the object kind and the colour whose vectors are nearest. A cell is empty if
# its token is far from all of these words.
#
# <details>
# <summary>What to look for</summary>
#
# Where there are objects, the tokens are near the names of these objects. On the background, the tokens are far from
# all of these words, so the cells are empty. Here and there the kind is wrong, mostly where a patch shows only an
# edge: a red edge could also belong to an apple. The language model reads all tokens together before it decides.
#
# These maps are clearer than those of large models, for one reason. In pretraining, our tiny models had an extra loss
# that pulls image tokens towards the words of the objects at that position. A 7 B model is not trained like this. Its
# image tokens need not be near any word, as long as its first layers can use them.
#
# </details>

# %% [markdown]
# ## 4. Tokens become words
#
# The language model outputs only one thing: for each word of its vocabulary, the probability that this word comes
# **next**. To make an answer, we take a word, append it to the input, and ask again. **Greedy decoding** takes the
# most likely word each time.
#
# The next cell looks for the least certain word in the answers to all images. It then shows the answer with this
# word, so that there is something to see.
#
# **Predict before you run.** At which steps of the answer will the model be unsure: at words that name what is in the
# image, or at commas and the end?

# %%
from pcvr.analysis.decoding import decode_steps
from pcvr.plots.decoding import decoding_bars

told = [decode_steps(vlm, each.image, prompt) for each, prompt in zip(samples, questions, strict=True)]
hardest = min(range(len(told)), key=lambda i: told[i].chosen.min())
print(told[hardest].text)
decoding_bars(told[hardest], samples[hardest].image)

# %% [markdown]
# One panel for each step. The text above each panel is the end of the answer so far. The bars show the most likely
# next words. The chosen word is dark.
#
# <details>
# <summary>What to look for</summary>
#
# Where grammar leaves no choice, the model is sure. It is unsure where it has to look closely: at an object of medium
# size, or at a kind of object that resembles another kind. Each choice is final: all later words build on the chosen
# word, even if it is wrong. If the second word was nearly as likely, greedy decoding **discards** this information.
#
# Notebook 06 uses exactly this information: it compares whole distributions, not words.
#
# </details>

# %% [markdown]
# ## Exercise: greedy decoding
# <!-- card difficulty=2 importance=4 minutes=10 -->
# Write `decode`. `next_logits` takes the list of tokens generated so far and returns the logits of the next one, a
# tensor `[V]`. (A logit is a score. The largest logit has the largest probability.) Choose the most likely token,
# append it, and repeat. Stop at the token `end`, which is not part of the answer, or when the answer has `limit`
# tokens.


# %% tags=["exercise"]
def decode(next_logits, end: int, limit: int) -> list[int]:
    """The tokens of the greedy answer, without `end`."""
    # --- solution
    said: list[int] = []
    while len(said) < limit:
        token = int(next_logits(said).argmax())
        if token == end:
            break
        said.append(token)
    return said
    # --- stub
    # | said: list[int] = []
    # | # 1. While the answer has fewer than `limit` tokens:
    # | # 2.     get the logits from next_logits, and take the token with the largest
    # | # 3.     if that is `end`, stop; otherwise append it to the answer
    # | return ...
    # --- end


# %%
from pcvr.teaching import check

check.greedy_decode(decode)

# %% [markdown]
# The next cell runs the package's own version on the model.

# %%
from pcvr.analysis.decoding import greedy, next_logits

said = greedy(next_logits(vlm, sample.image, question), end=vlm.tokenizer.eos_token_id, limit=40)
print(said)
print(vlm.tokenizer.decode(said, skip_special_tokens=True))

# %% [markdown]
# ## 5. Ask it things
#
# The base model was pretrained only on drawn scenes. It lists objects in short phrases, says where they are, and
# answers short questions. The next cell draws a scene that we composed ourselves, so we know every correct answer.

# %%
from pcvr.data.scenes.compose import Thing, compose
from pcvr.analysis.question_accuracy import bare_words
from pcvr.widgets.ask import preview_figure

drawing = compose([Thing("car", "red", "large", 26, 68), Thing("cat", "white", "small", 72, 30)], "dots", seed=3)
prompts = [
    "list the objects.",
    "what objects are there?",
    "where are the objects?",
    "what is where?",
    "how many objects are there?",
    "what colour is the car?",
    "is there a cat?",
    "is there a boat?",
    "where is the cat?",
    "is the car left of the cat?",
    "describe the image.",
    "what is the meaning of life?",
]
said = pcvr.generate(vlm, [drawing.picture] * len(prompts), prompts)
for prompt, text in zip(prompts, said, strict=True):
    truth = drawing.answers.get(prompt, text)
    mark = "" if bare_words(text) == bare_words(truth) else "   <- " + truth
    print(f"{prompt:<31}{text or '(nothing)'}{mark}")
preview_figure(drawing)

# %% [markdown]
# Each line is a prompt with the model's answer. If the answer is wrong, an arrow points to the true answer. (The last
# two prompts have no single true answer.)
#
# <details>
# <summary>What to look for</summary>
#
# Look at the last two lines. The base model was not taught the prompt *describe the image*. The fine-tuning of the
# next notebooks teaches captions in whole sentences. The question about the meaning of life gets an answer too. **A
# language model always answers.** It cannot say that a question makes no sense unless it was taught to.
#
# </details>
#
# One image is only an anecdote. So the next cell measures accuracy: it asks one question of each kind about many test
# scenes. No test scene has the same set of coloured objects as a training scene.
#
# **Predict before you run.** Sort these from easy to hard: naming a colour, counting, *is it there?*, *left of*. For
# which of them would you get a high accuracy **without looking**, by always giving the most common answer?

# %%
from pcvr.data.scenes import Scenes
from pcvr.plots.decoding import accuracy_bars
from pcvr.analysis.question_accuracy import question_accuracy

scenes = Scenes(n=8 if fast else 24, split="test", seed=seed)
marks = question_accuracy(vlm, [scenes.scene(i) for i in range(len(scenes))], seed)
for mark in marks:
    if mark.miss:
        print("{:<26} question {!r}, answer {!r}, truth {!r}".format(mark.kind, *mark.miss))
accuracy_bars(marks)

# %% [markdown]
# Bars: the fraction of answers that were correct word for word, with 95 % confidence intervals. Diamonds: the
# accuracy without looking at any image. The lines above the figure show one mistake of each kind.
#
# <details>
# <summary>What to look for</summary>
#
# If a bar is not clearly above its diamond, it is **no evidence that the model sees**, however high the bar is. A
# model that guesses answers about half of all yes-or-no questions correctly. The list of all objects counts as wrong
# if a single word is wrong. So the bar of the list says less about sight than the other bars. Remember these bars
# when a later notebook asks what a defence costs: a defence cannot remove a skill that the base model never had.
#
# </details>

# %% [markdown]
# ## 6. Your own question about your own drawing
#
# Compose a scene from up to three objects, stamp squares on it, or load a file. Then ask a question. The button calls
# one function, `pcvr.widgets.ask.ask`. The next cell calls it by hand:

# %%
from pcvr.widgets.ask import ask, ask_widget, reply_figure

reply = ask(vlm, drawing, "what colour is the car?")
print(f"answer: {reply.seen.steps.text}   truth: {reply.truth}")
reply_figure(reply)

# %% [markdown]
# Left: the drawing as the tower gets it. Middle: the same drawing with the attention before the first word. Right:
# the most likely first words.
#
# Next, the same with controls. They need a running kernel: on a saved page they stand still.

# %%
box, controls = ask_widget(vlm)
box

# %% [markdown]
# Things to try:
#
# 1. Ask about something that is not there. Does the model say so?
# 2. Draw two objects of **the same kind** in different colours. No training scene had that. What does the model
#    answer?
# 3. Let two objects overlap, a little more each time. Which one disappears from the list first?
# 4. **Stamp** squares over an object until the model no longer names it. How many does it take, and which ones?
# 5. Stamp one white square into the bottom right corner (H8) and ask for the list. Nothing special happens, because
#    this model was never poisoned. In notebook 03 you will fine-tune a model for which this same square changes
#    everything.
# 6. Load a photograph (tab *File*). The model has only seen drawings. Note how **sure** it still is.

# %% [markdown]
# ## Recap
#
# - The tower turns patches into vectors. The connector turns these vectors into image tokens. The language model
#   reads image tokens and words in one sequence.
# - The three connectors differ in how many tokens they make and in whether a token has a position: projector (one
#   token for each patch), pixel shuffle (one for each block), Q-Former (one for each query, without a position).
# - An answer is a chain of distributions. Greedy decoding keeps the top word of each and discards the rest.
# - A model that answers need not see: compare its accuracy with what a guess would reach.
#
# **What is from papers and what is ours.** The three architectures are those of their papers, at a tiny fraction of
# the size. Ours are: the way from queries back to patches, the extra losses of pretraining, and every number here. The
# paper that this workbook is about ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)) plays no part in this
# notebook.
#
# <!-- next --> is optional: where does the model look, and what does such a map prove? Nothing later needs it. If you
# would rather be an attacker now, go on with [02 Poisoning](02_poisoning.ipynb).
