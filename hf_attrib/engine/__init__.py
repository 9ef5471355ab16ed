"""From token sequences and a question to results: one model, its memory, its costs.

The engine opens a batch, fits its rows into memory, lets the method work on the field and records
what came out. It knows models, methods and results, and no screen.
"""

from hf_attrib.engine.answering import Answering, Place
from hf_attrib.engine.case import Case
from hf_attrib.engine.citing import Citing, PassagesOptions
from hf_attrib.engine.coalitions import CoalitionGame, game_of
from hf_attrib.engine.engine import Engine
from hf_attrib.engine.estimation import Estimate
from hf_attrib.engine.given import given_to, is_answer
from hf_attrib.engine.grounding import grounded, table_rows
from hf_attrib.engine.interactions import INTERACTIONS_DEFAULTS, interacting, pair_question
from hf_attrib.engine.memory import Memory, size_of
from hf_attrib.engine.options import (
    DEFAULTS,
    ExplainOptions,
    InteractionsOptions,
    RobustnessOptions,
    check_names,
    default_method,
    documented_by,
)
from hf_attrib.engine.question import Plan, Question
from hf_attrib.engine.ready import ReadyBatch
from hf_attrib.engine.sharing import Sharing

__all__ = [
    "DEFAULTS",
    "INTERACTIONS_DEFAULTS",
    "Answering",
    "Case",
    "Citing",
    "CoalitionGame",
    "Engine",
    "Estimate",
    "ExplainOptions",
    "InteractionsOptions",
    "Memory",
    "PassagesOptions",
    "Place",
    "Plan",
    "Question",
    "ReadyBatch",
    "RobustnessOptions",
    "Sharing",
    "check_names",
    "default_method",
    "documented_by",
    "game_of",
    "given_to",
    "grounded",
    "interacting",
    "is_answer",
    "pair_question",
    "size_of",
    "table_rows",
]
