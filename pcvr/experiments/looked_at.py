"""What was looked at while the defaults of PCVR were chosen: the notes of each table that measures them."""

from __future__ import annotations

LOOKED_AT: tuple[str, ...] = (
    "The weights of the loss were chosen on BadNets and SIG at 5 %, captions and questions.",
    "The thresholds of the streaming gate were set while looking at BadNets, SIG, Blended and Dual-Key with its covers "
    "at 5 %, and BadNets at 1 %.",
    "Schedules: 100 and 400 steps over 2000 samples, one pass over 6400 samples, and gates that look late.",
    "The pool of the most likely labels was added on 2026-11-30 while looking at BadNets at 5 % with a gate that looks "
    "late, and at SIG at 1 % late in each pass, both on captions. It acts only where no trigger was found, and rows of "
    "earlier dates were made without it.",
    "The exchange of questions was added on 2026-11-30 while looking at questions: BadNets at 5 % with a gate that "
    "looks late, SIG at 1 % late in each pass, and data without an attacker. It too acts only where no trigger was "
    "found, and rows of earlier dates were made without it.",
    "Showing samples of a learned backdoor again, and pulling answers back, was added on 2026-11-30 while looking at "
    "captions: BadNets at 5 % with a gate that looks late, and SIG at 1 % late in each pass. Both act only where the "
    "model gives the answers of flagged samples, and rows of earlier dates were made without them.",
    "The search for further triggers beside the first one was added on 2026-12-01 while looking at two attackers at "
    "once: BadNets and Blended on captions, BadNets and WaNet on questions, 5 % each. It acts only where a further "
    "trigger was found or may be there, and rows of earlier dates were made without it.",
    "The witness of what is unusual anywhere in an image was added on 2026-12-01 while looking at questions: a blue "
    "patch and a checkerboard anywhere in the image, and data without an attacker. It acts only where the witness of "
    "fixed places tells nothing or little apart, and beside a first trigger; rows of earlier dates were made without "
    "it.",
    "That the answer decides alone where more than 15 % of the samples have the trigger was added on 2026-12-01 while "
    "looking at BadNets at 20 %, captions; rows of earlier dates were made without it.",
    "Answers: replaced, `prefix`, `insert`, `turns`, `recolour`, and targets that are true of some images: “a picture "
    "of a red car”, “yes”, “red”; triggers in the text alone.",
    "Without an attacker: captions and questions, new questions (colour on the left, colour of the largest), a new "
    "style and a new language; names of classes, asked for in one way and in several.",
    "So no attack and no answer counts as held out for the gate. The other schedules were not looked at.",
)
"""One sentence each."""
