"""How well scores predict what a model does without the units that they rank.

``metrics`` are formulas and ``suite`` names them, ``controls`` know nothing of the model;
``evaluation`` runs what they ask for, each subset once, ``contest`` puts it together and ``result``
is what is left.
"""

from hf_attrib.validation import storage as storage  # files hold results as it registers
from hf_attrib.validation.calls import Judging
from hf_attrib.validation.choice import (
    CHOOSE_DEFAULTS,
    Choice,
    automatic,
    automatic_contest,
    choice_of,
    chosen,
)
from hf_attrib.validation.contest import DEFAULT_METHODS, Contest, contested
from hf_attrib.validation.costs import EvaluationEstimate, evaluation_cost
from hf_attrib.validation.evaluation import OPERATORS, QUANTILES, Finding, Settings, findings
from hf_attrib.validation.options import (
    EVALUATE_DEFAULTS,
    EvaluateOptions,
    SanityOptions,
    contest_of,
)
from hf_attrib.validation.result import (
    Contestant,
    Evaluation,
    EvaluationRun,
    JudgedPrompt,
    Judgement,
)
from hf_attrib.validation.sanity import CHECKS, Sanity, SanityCheck, checked_sanity
from hf_attrib.validation.suite import DEFAULT_METRICS, METRICS

__all__ = [
    "CHECKS",
    "CHOOSE_DEFAULTS",
    "DEFAULT_METHODS",
    "DEFAULT_METRICS",
    "EVALUATE_DEFAULTS",
    "METRICS",
    "OPERATORS",
    "QUANTILES",
    "Choice",
    "Contest",
    "Contestant",
    "EvaluateOptions",
    "Evaluation",
    "EvaluationEstimate",
    "EvaluationRun",
    "Finding",
    "JudgedPrompt",
    "Judgement",
    "Judging",
    "Sanity",
    "SanityCheck",
    "SanityOptions",
    "Settings",
    "automatic",
    "automatic_contest",
    "checked_sanity",
    "choice_of",
    "chosen",
    "contest_of",
    "contested",
    "evaluation_cost",
    "findings",
]
