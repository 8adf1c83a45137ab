# %% [markdown]
# # Meet the model: patches become tokens become words
#
# You follow one picture through a vision language model: it is cut into patches, the patches become tokens, the
# tokens become words; then you draw a picture of your own and ask about it.
#
# **After this notebook you can**
# - say what goes into the model and what comes out, token by token;
# - draw the three connectors in use today (projector, Q-Former, pixel shuffle) and count the image tokens of each;
# - write greedy decoding down, and say what it forgets;
# - lay an attention map over a picture, and say what it shows and what it does not.
#
# **Time and hardware:** 50 minutes with the exercises; about half a minute to run on two CPU cores. No GPU, no
# download. Nothing is trained here.

# %% tags=["parameters"]
model = "tiny-llava"  # tiny-llava, tiny-blip2, tiny-idefics3, a folder, or a hub id
task = "caption"  # caption: ask for everything there is; vqa: ask one question
data = "scenes"  # or the path of a LLaVA-style JSON with your own photographs
seed = 0  # of the pictures and of every random cover
fast = False  # True: fewer pictures, for tests

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
contact_sheet(samples[:6], captions=False, title="Six pictures")

# %% [markdown]
# Six of the pictures; the second one, number 1, goes with you through this notebook. With `data` set to a file of
# your own, these are your photographs.

# %%
answer = pcvr.generate(vlm, [sample.image], [question])[0]
print("picture: ", sample.image.dtype, sample.image.shape, "levels", sample.image.min(), "to", sample.image.max())
print("question:", question)
print("answer:  ", answer)

# %% [markdown]
# A picture and a text go in, a text comes out. Two things happen to the question first. The **chat template** wraps
# marks around it, so that the model knows who is speaking; then the **tokenizer** cuts the whole into tokens and
# gives the number that each has in the vocabulary.
#
# **Predict before you run.** How many tokens will the question take, marks included? And how many the picture?

# %%
from pcvr.analysis.decoding import model_input
from pcvr.plots.model import token_strip

asked = model_input(vlm, sample.image, question)
print("in its template:", vlm.prompt(question))
print(f"{len(asked.tokens)} tokens, {asked.is_image.sum()} of them for the picture")
token_strip(asked)

# %% [markdown]
# Every token that the language model reads, in reading order: the word, and below it its number in the vocabulary.
#
# <details>
# <summary>What to look for</summary>
#
# The picture takes up more room than the question. All image tokens carry *one and the same number*: it holds a
# place and says nothing. What the model reads there does not come from the vocabulary. Before the first layer, the
# vectors at these places are exchanged for what the connector has made of the picture. Where these vectors come
# from is the subject of the next two sections.
#
# (The marks differ from model to model. LLaVA puts the picture into the user's turn; Idefics3 frames it with marks
# of its own; BLIP-2 has no chat template, and its picture stands in front.)
#
# </details>

# %% [markdown]
# ## 2. The picture becomes patches
#
# The **vision tower** is a transformer for pictures (ViT, [arXiv 2010.11929](https://arxiv.org/abs/2010.11929)). It
# cannot read pixels one by one, since attention over each pair of pixels would be far too much work. So the picture
# is cut into square **patches**, and each patch becomes one token.

# %%
from pcvr.analysis.anatomy import anatomy, busiest_patch, tower_layers
from pcvr.plots.model import patch_figure

seen_by = anatomy(vlm, sample.image)
layers = tower_layers(vlm, sample.image)  # [layers + 1, down, across, width]
at = busiest_patch(seen_by.picture, seen_by.grid)
patch_figure(seen_by.picture, seen_by.grid, at, layers[-1][at])

# %% [markdown]
# On the left the patch grid of this model's tower with one patch framed; in the middle that patch close up; on the
# right the numbers that the tower hands on for it.
#
# A patch holds hundreds of levels, and one vector stands for them. What is in that vector? No single number in it
# has a name. But one can ask which patches the tower finds *alike*: take the cosine of the angle between two
# vectors (1: they point the same way; 0: nothing in common). The first map compares raw pixels, the second what the
# tower has made of them.
#
# **Predict before you run.** In which map is the framed patch more like *other patches of the same object*? In
# which is it more like *anything of the same colours*?

# %%
from pcvr.analysis.anatomy import likeness, patch_pixels
from pcvr.plots.model import likeness_figure

pixels = patch_pixels(seen_by.picture, seen_by.grid)
likeness_figure(
    seen_by.picture, at, {"by its pixels": likeness(pixels, at), "after the tower": likeness(layers[-1], at)}
)

# %% [markdown]
# How like the framed patch each patch is: by its pixels, and by the vectors at the tower's end.
#
# <details>
# <summary>What to look for</summary>
#
# By pixels a patch is like whatever has the same colours in the same corners, wherever it lies. In the tower every
# patch has looked at all others, layer after layer, and its vector tells of its surroundings as well. Often (not
# always: these are small towers) patches of one object move together, and a patch of the same colour elsewhere
# moves away.
#
# Keep one thing in mind for section 6: after the tower *no vector belongs to its patch alone*.
#
# </details>

# %% [markdown]
# ## 3. Patches become image tokens: three connectors
#
# The tower's vectors were made for seeing, the language model's for words. Between the two sits a **connector**,
# and the families of models differ above all in this part:
#
# | family | connector | what it does |
# | --- | --- | --- |
# | LLaVA ([2310.03744](https://arxiv.org/abs/2310.03744)) | **MLP projector** | each patch by itself, two layers |
# | BLIP-2 ([2301.12597](https://arxiv.org/abs/2301.12597)) | **Q-Former** | learned queries look at all patches |
# | Idefics3 ([2408.12637](https://arxiv.org/abs/2408.12637)) | **pixel shuffle** | neighbours side by side, one layer |
#
# (SmolVLM is an Idefics3 with smaller parts.) The package has a tiny model of each family, true to the original in
# its parts: they are opened by the same classes of `transformers` as the large ones.
#
# **Predict before you run.** LLaVA's tower here makes 6 × 6 patches, Idefics3's 8 × 8, and the pixel shuffle lays 2
# × 2 of them side by side. BLIP-2's tower makes 6 × 6 patches as well, and its Q-Former has 16 queries. How many
# image tokens does each language model get to read? Which connector has the most parameters?

# %%
from pcvr.analysis.anatomy import anatomy_table, installed_models

names = list(dict.fromkeys([*installed_models(), model]))
family = {name: vlm if name == model else pcvr.load(name) for name in names}
drawn = {name: anatomy(each, sample.image) for name, each in family.items()}
print(anatomy_table(list(drawn.values())))

# %%
from pcvr.plots.connectors import connector_figure

connector_figure(list(drawn.values()))

# %% [markdown]
# From top to bottom: the picture in its patches, the tower, its patch tokens (each in the mean colour of its
# patch), the connector, the image tokens. A line says which patches a token is read from; the darker the line, the
# more.
#
# <details>
# <summary>What to look for</summary>
#
# - **Projector:** one line for each token. Nothing is mixed and nothing lost, and place survives: token 8 is patch
#   8. The price is length, since the language model reads as many tokens as there are patches (576 in LLaVA-1.5).
# - **Pixel shuffle:** four lines for each token. A quarter of the tokens, each four times as wide before the linear
#   layer narrows it. Place survives on a coarser grid.
# - **Q-Former:** lines from everywhere, some darker than others. There are as many tokens as queries, however large
#   the picture is. Nothing in this design ties a token to a spot; what each query looks for is learned. This is by
#   far the largest connector; it is a small transformer itself.
#
# Two of the towers hand on one token more (+ 1), which stands for the whole picture. LLaVA's projector leaves it
# out; the Q-Former reads it like any other.
#
# Fewer tokens make the language model faster, and leave it less to look at. None of the three is "the right one";
# each can be poisoned.
#
# </details>

# %% [markdown]
# ### Where the queries look
#
# In a Q-Former, each query attends to the patches (*cross-attention*: queries on one side, patches on the other).
# So although nothing gives its token a place, one can ask where it was *read*.

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
    figure = query_figure(drawn[name].picture, maps, title=f"{name}: where each query looks")
else:
    print("No model with a Q-Former is installed here.")
figure

# %% [markdown]
# One panel for each query: bright where it pays attention. The percentage is what the brightest patch gets; if a
# query looked at all patches alike, each of 36 would get less than 3 %.
#
# <details>
# <summary>What to look for</summary>
#
# In our tiny BLIP-2 the panels go through the picture in reading order: query 1 looks at the top left. That is taught,
# not found: in pretraining, the heads of its first layer were told to look at a square of their own. Left alone, all
# queries looked everywhere, and the model knew what there was but not where. The queries of the large BLIP-2
# were told nothing; with 129 million pictures they sorted themselves out, and theirs follow no
# order.
#
# </details>

# %% [markdown]
# ### What an image token means
#
# The language model reads image tokens and words in one row, as vectors of one space. So one can ask which word's
# vector is the nearest to an image token.
#
# **Predict before you run.** Which word will the tokens of the background be near to?

# %%
figure = None
with_places = [name for name, each in drawn.items() if each.connector != "queries"]
try:
    name = model if model in with_places else with_places[0]
    grid = tuple(side // drawn[name].merge for side in drawn[name].grid)
    named = [nearest_words(family[name], sample.image, list(words)) for words in (KINDS, COLORS)]
    figure = word_map(drawn[name].picture, grid, named)
    print(f"{name}:")
except pcvr.PcvrError as refusal:  # the words of the scenes are single tokens of the embedded models only
    print(refusal)
figure

# %% [markdown]
# On the right, for each image token, the kind of object and the colour whose vectors lie nearest. Cells whose token
# is far from every such word are left empty.
#
# <details>
# <summary>What to look for</summary>
#
# Where objects are, the tokens lie near their names; on the background they lie near none of these words, whence
# the empty cells. Here and there the kind is wrong, above all where a patch holds only an edge: a red edge may as
# well belong to an apple. The language model reads all of them and makes up its mind.
#
# This is tidier than in large models, and for a reason: in pretraining, our tiny models had an extra loss that
# pulls image tokens to the words of what lies there. Nobody asks this of a 7 B model. Its image tokens need not lie
# near any word; it is enough that its first layers know what to do with them.
#
# </details>

# %% [markdown]
# ## 4. Tokens become words
#
# The language model gives one thing only: a probability for every word of its vocabulary to come **next**. An
# answer is made by taking a word, adding it to what was read, and asking again. **Greedy decoding** takes the
# likeliest word each time.
#
# So that there is something to see, the next cell takes, of our pictures, the one about which the model was least
# sure at some word.
#
# **Predict before you run.** At which steps of the answer will it be in doubt: at the words that name what is in
# the picture, or at commas and the end?

# %%
from pcvr.analysis.decoding import decode_steps
from pcvr.plots.decoding import step_bars

told = [decode_steps(vlm, each.image, prompt) for each, prompt in zip(samples, questions, strict=True)]
hardest = min(range(len(told)), key=lambda i: told[i].chosen.min())
print(told[hardest].text)
step_bars(told[hardest], samples[hardest].image)

# %% [markdown]
# One panel for each step; above it the last words that were said before. The bars are the likeliest next words,
# dark the one that was taken.
#
# <details>
# <summary>What to look for</summary>
#
# Where grammar leaves no choice the model is sure. Doubt shows where one has to look closely: a size between small
# and large, a kind that resembles another. And each doubt is settled for good: once a word is said, everything
# after it builds on it, right or wrong. Greedy decoding **forgets** that the second word was nearly as likely.
#
# Notebook 06 lives on what is forgotten here: it compares whole distributions, not words.
#
# </details>

# %% [markdown]
# ## Exercise: greedy decoding
# <!-- card difficulty=2 importance=4 minutes=10 -->
# Write `decode`. `next_logits` takes the list of tokens said so far and gives the logits of the next one, a tensor
# `[V]` (a logit is a score; the largest has the largest probability). Say the likeliest token, read it, go on. Stop
# at the token `end`, which is not part of the answer, or when `limit` tokens are said.


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
    # | # 1. As long as fewer than `limit` tokens are said:
    # | # 2.     ask next_logits for the logits, and take the token with the largest
    # | # 3.     if that is `end`, stop; else add it to what is said
    # | return ...
    # --- end


# %%
from pcvr.teaching import check

check.greedy_decode(decode)

# %% [markdown]
# The package's own version of it, let loose on the model:

# %%
from pcvr.analysis.decoding import greedy, next_logits

said = greedy(next_logits(vlm, sample.image, question), end=vlm.tokenizer.eos_token_id, limit=40)
print(said)
print(vlm.tokenizer.decode(said, skip_special_tokens=True))

# %% [markdown]
# ## 5. Ask it things
#
# The base model was pretrained on drawn scenes only. It lists objects in telegram style, says where they are, and
# answers short questions. Here is a scene of our own making, so that every truth about it is known.

# %%
from pcvr.data.scenes.compose import Thing, compose
from pcvr.analysis.question_accuracy import plain
from pcvr.widgets.ask import preview_figure

drawing = compose([Thing("car", "red", "large", 26, 68), Thing("cat", "white", "small", 72, 30)], "dots", seed=3)
preview_figure(drawing)

# %%
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
    mark = "" if plain(text) == plain(truth) else "   <- " + truth
    print(f"{prompt:<31}{text or '(nothing)'}{mark}")

# %% [markdown]
# Each line is a prompt with the model's answer; where it is not the true one, the truth stands behind the arrow.
# (For the last two prompts there is no one true answer.)
#
# <details>
# <summary>What to look for</summary>
#
# Look at the last two lines. *Describe the image* is a prompt that the base model was not taught: captions in whole
# sentences are what the fine-tuning of the next notebooks teaches. And the meaning of life has an answer too. **A
# language model always answers.** It has no way to say that a question makes no sense unless it was taught one.
#
# </details>
#
# One picture is an anecdote. A quiz: one question of each kind about many test scenes, none of which shares its set
# of coloured objects with a training scene.
#
# **Predict before you run.** Sort these from easy to hard: naming a colour, counting, *is it there?*, *left of*.
# And where would you score well **without looking**, by always giving the commonest answer?

# %%
from pcvr.data.scenes import Scenes
from pcvr.plots.decoding import quiz_bars
from pcvr.analysis.question_accuracy import question_accuracy

scenes = Scenes(n=8 if fast else 40, split="test", seed=seed)
marks = question_accuracy(vlm, [scenes.scene(i) for i in range(len(scenes))], seed)
quiz_bars(marks)

# %%
for mark in marks:
    if mark.miss:
        print("{:<26} asked {!r}, said {!r}, truth {!r}".format(mark.kind, *mark.miss))

# %% [markdown]
# Bars: how often the answer was right, word for word, with 95 % intervals. Diamonds: what one would get without
# looking at any picture. Below, one mistake of each kind.
#
# <details>
# <summary>What to look for</summary>
#
# A bar that does not clearly pass its diamond is **no evidence of sight**, however tall it is: about half of all
# yes-or-no questions are right by chance. The list of everything counts as wrong when one word in it is, so its bar
# says more about patience than about sight. Remember these bars when a later notebook asks what a defence has cost:
# what the base model cannot do, no defence has taken away.
#
# </details>

# %% [markdown]
# ## 6. What an attention map shows
#
# In every layer of the language model each token looks back at all tokens before it, and takes a little from each:
# the shares, which sum to 1, are the **attention**. To say a word, the model looks from the place before it. On
# what?

# %%
from pcvr.analysis.attention import attend
from pcvr.plots.attention import attention_maps, share_bars

looked_at = list(zip(samples, questions, strict=True))[: 3 if fast else 12]
seen = [attend(vlm, each.image, prompt) for each, prompt in looked_at]
one = seen[1]
share_bars(one)

# %% [markdown]
# For each word of the answer: how much of the attention fell on the picture, on the prompt with its marks, and on
# words already said (mean over all layers and heads).
#
# **Predict before you run.** Now only the part that falls on the picture, laid over it, word by word. Where will it
# lie for the name of an object? And for a comma, or the end?

# %%
attention_maps(one)

# %% [markdown]
# One panel for each word of the answer: bright where attention fell. Each panel has its own scale; the percentage
# below says how much fell on the picture at all.
#
# <details>
# <summary>What to look for</summary>
#
# In the trained models the light goes from object to object as the list goes on, and spreads out at commas and at
# the end, where nothing needs to be looked up. (For BLIP-2, whose tokens have no place, the light is carried on
# from each query to the patches that it looked at, and is softer for it.)
#
# </details>
#
# It is tempting to stop here, since the picture is so convincing. Let us look closer instead. That was a mean over
# layers and heads; here is each of them, before one word.

# %%
from pcvr.analysis.occlusion import naming_token
from pcvr.plots.attention import head_maps

word = naming_token(one.steps.tokens)
head_maps(one, word)

# %% [markdown]
# Layers from top to bottom, heads from left to right, all on one scale; above each the share that falls on the
# picture.
#
# <details>
# <summary>What to look for</summary>
#
# The heads do not agree. Some look at the object, some at other objects, some hardly at the picture at all. Which
# of them is "the" attention map? There is none: the mean is a choice, and a head that one has picked for its beauty
# is another.
#
# </details>
#
# A third choice is **attention rollout** (Abnar and Zuidema, [arXiv 2005.00928](https://arxiv.org/abs/2005.00928)).
# It follows attention through *all* layers, back to the input, and counts the residual connection, which carries
# half of everything past each layer:
#
# $$R = \tilde A_L \cdots \tilde A_2 \tilde A_1, \qquad \tilde A_\ell = \tfrac12 (A_\ell + I) .$$

# %%
attention_maps(one, how="rollout")

# %% [markdown]
# The same answer by rollout.
#
# <details>
# <summary>What to look for</summary>
#
# Blurred, and often brighter towards the first patches. This comes from the order of reading: in a language model a
# token sees only what came *before* it, image tokens included, so whatever flows back through the layers gathers at
# the beginning. Same model, same answer, another map.
#
# </details>

# %% [markdown]
# ## Exercise: from attention to a map
# <!-- card difficulty=2 importance=3 minutes=8 -->
# Write `patch_map`. `attention` is `[H, T]`, for one word: a row for each head, a column for each token that was
# read. `image_at` are the positions of the image tokens among the T, in reading order; `grid` is (down, across).
# Average over the heads, pick the image tokens, and lay them out. The map is to keep its sum: how much fell on the
# picture is part of the message.


# %% tags=["exercise"]
def patch_map(attention, image_at, grid: tuple[int, int]):
    """Attention over the picture, `[down, across]`."""
    # --- solution
    return attention.mean(0)[image_at].reshape(grid)
    # --- stub
    # | # 1. Average over the heads: [T]
    # | # 2. Pick the image tokens: [I]
    # | # 3. Lay them out on the grid, row by row
    # | return ...
    # --- end


# %%
check.patch_map(patch_map)

# %% [markdown]
# ## 7. What it does not show
#
# A map says where the model *looked*. Does the word *depend* on what lies there? This can be tested: cover parts of
# the picture, and see what becomes of the word's probability, with the words before it given.
#
# **Predict before you run.** Three ways to cover more and more patches: those with the most attention first, those
# with the least first, or in random order. If attention meant nothing, how would the three lines lie? How if it
# told everything?

# %%
from pcvr.analysis.occlusion import covering_curves
from pcvr.plots.attention import covering_figure

cells = one.grid[0] * one.grid[1]
counts = [count for count in (0, 1, 2, 4, 8, 12, 18) if count <= cells // 2]
curves = covering_curves(vlm, seen, counts, seed)
covering_figure(counts, curves, cells)

# %% [markdown]
# The probability of one word (the first that names an object, else the answer's first word), mean over the
# pictures, as more and more cells of the map are painted in the picture's mean colour.
#
# <details>
# <summary>What to look for</summary>
#
# If the lines lie apart, *most attention first* falling fastest and *least attention first* hardly falling, then
# attention does point at what the word needs, on average, for this model. If they lie together, the beautiful maps
# above were decoration. It is a question to be asked of every model anew; the literature has argued for both
# ([Attention is not explanation](https://arxiv.org/abs/1902.10186), and the reply,
# [Attention is not not explanation](https://arxiv.org/abs/1908.04626); both on models of text).
#
# And a *mean over pictures* promises nothing about a single one.
#
# </details>
#
# So, a single picture. Cover two fifths of it at random, hundreds of times, and note for each cell how likely the
# word was when the cell was open and when it was covered. The difference is what the cell *does* for the word. (The
# idea of random covers is RISE, [arXiv 1806.07421](https://arxiv.org/abs/1806.07421).)
#
# **Predict before you run.** Can a cell have a *negative* effect: covered, it makes the right word likelier? Can an
# attention map show that?

# %%
from pcvr.analysis.occlusion import agreement, occlusion_map
from pcvr.plots.attention import beside_occlusion

effect = occlusion_map(vlm, one, word, draws=64 if fast else 256, seed=seed)
beside_occlusion(one, word, effect, agreement(effect, one.map(word)))

# %% [markdown]
# Left the picture; in the middle where the model looked before the word; on the right what each cell adds to the
# word's probability (purple) or takes away from it (orange). Faint colours on the right are noise of the random
# covers.
#
# <details>
# <summary>What to look for</summary>
#
# Four things that the middle map cannot tell you:
#
# 1. **Sign.** Attention is never negative. A rival object attracts attention too, and what it does is to speak
#    *against* the word.
# 2. **Need.** Several cells can hold the same evidence. The model looks at all of them and needs none in
#    particular.
# 3. **What is carried.** A head that looks may take next to nothing along: attention is a weight, and what it
#    weighs can be small.
# 4. **Where it comes from.** The token at a patch knows its neighbourhood (section 2), and with a Q-Former it has
#    no place at all.
#
# So attention is a hint about where to look next, and covering is how to check it. The defence of this workbook
# rests on the second kind of evidence: it *changes patches* and watches probabilities. Notebook 04 makes a premise
# of it, notebook 05 a loss.
#
# </details>
#
# Now look around yourself: choose a picture, a word, a layer, a head.

# %%
from pcvr.widgets.attend import AttentionChoice, attention_explorer, attention_view

attention_view(seen, AttentionChoice(picture=1, token=word))

# %% [markdown]
# One choice as a figure, made by the function that stands behind the controls.

# %%
explorer, attention_controls = attention_explorer(seen[:6])
explorer

# %% [markdown]
# Things to try:
#
# 1. Move **Word** along a list of objects. Is there one **Head** that always lights up the object about to be
#    named?
# 2. Find a head that never looks at the picture. What does it look at? (The line above the figure says it.)
# 3. Compare *mean* and *rollout* at the last word, the end of the answer.

# %% [markdown]
# ## 8. Your own question about your own drawing
#
# Compose a scene from up to three objects; stamp squares on it; or take a file. Then ask. Behind the button stands
# one function, `pcvr.widgets.ask.ask`; here it is by hand:

# %%
from pcvr.widgets.ask import ask, ask_widget, reply_figure

reply = ask(vlm, drawing, "what colour is the car?")
print(f"answer: {reply.seen.steps.text}   truth: {reply.truth}")
reply_figure(reply)

# %% [markdown]
# The drawing as the tower gets it, the same lit by the attention before the first word, and the likeliest first
# words.
#
# And now with controls (they need a running kernel: on a saved page the place below is empty).

# %%
box, controls = ask_widget(vlm)
box

# %% [markdown]
# Things to try:
#
# 1. Ask about something that is not there. Does the model say so?
# 2. Two objects of **the same kind** in different colours: no training scene had that. What does it make of them?
# 3. Let two objects overlap, a little more each time. Which one vanishes from the list first?
# 4. **Stamp** squares over an object until its name is lost. How many does it take, and which?
# 5. Stamp one white square into the bottom right corner (H8) and ask for the list. Nothing happens, and that is
#    right: this model was never poisoned. In notebook 03 you will fine-tune one for which this very square changes
#    everything.
# 6. Take a photograph (tab *File*). The model has seen nothing but drawings: watch how **sure** it is all the same.

# %% [markdown]
# ## Recap
#
# - Tower, connector, language model: patches become vectors, the connector turns them into image tokens, and the
#   language model reads these in one row with words.
# - The three connectors differ in how many tokens they make and in whether a token has a place: projector (one for
#   each patch), pixel shuffle (one for each block), Q-Former (one for each query, without a place).
# - An answer is a chain of distributions; greedy decoding keeps the top word of each and forgets the rest.
# - An attention map shows where the model looked. What a word needs is shown by changing the picture.
#
# **Who says what.** The three architectures are those of their papers, at a tiny fraction of the size. The covering
# test, the mean over layers and heads, the way from queries back to patches, the extra loss of pretraining and
# every number here are ours. The paper that this workbook is about
# ([arXiv 2604.04488](https://arxiv.org/abs/2604.04488)) plays no part in this notebook.
#
# **Next:** [02 Poisoning](02_poisoning.ipynb), where you are the attacker for twenty minutes. Or set `model` above
# to another connector and look again.
