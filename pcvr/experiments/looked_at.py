"""What was looked at while the defaults of PCVR were chosen: the notes of each table that measures them."""

from __future__ import annotations

LOOKED_AT: tuple[str, ...] = (
    "The weights of the loss were chosen on BadNets and SIG at 5 %, captions and questions.",
    "The thresholds of the streaming gate were set while looking at BadNets, SIG, Blended and Dual-Key with its covers "
    "at 5 %, and BadNets at 1 %.",
    "Schedules: 400 steps over 2000 samples, one pass over 6400 samples, and gates that look late.",
    "Answers: replaced, `prefix`, `insert`, `turns` and `recolour`; triggers in the text alone.",
    "Without an attacker: captions and questions, new questions (colour on the left, colour of the largest), a new "
    "style and a new language.",
    "So no attack counts as held out for the gate. The plausible targets and the other schedules were not looked at.",
)
"""One sentence each."""
