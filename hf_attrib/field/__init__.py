"""What a method sees of a model: f and its gradient as functions of the input embeddings.

A :class:`Field` has B sequences with T targets over N inputs of width D; it gives values, gradients
contracted along a path, and derivatives along directions, whatever computes them. A plain function
is a field as well (:class:`FunctionField`), so that methods are tested and tried without a model.
This folder is mathematics on tensors and knows no transformers.
"""

from hf_attrib.field.ablation import MODES, ablated_rows
from hf_attrib.field.attention import Attended, AttentionPass, Maps, pulled_to_attention
from hf_attrib.field.base import Field
from hf_attrib.field.decomposition import (
    Cost,
    Decomposition,
    Linearisation,
    Part,
    Pushforward,
    Sample,
)
from hf_attrib.field.directions import NEVER, DirectionCost
from hf_attrib.field.fork import ForkField
from hf_attrib.field.function import FunctionField
from hf_attrib.field.gradients import Contraction, Path, Query, dot
from hf_attrib.field.groups import Groups, Targets
from hf_attrib.field.hidden import Layered
from hf_attrib.field.space import Space, Table
from hf_attrib.field.sums import SpanField

__all__ = [
    "MODES",
    "NEVER",
    "Attended",
    "AttentionPass",
    "Contraction",
    "Cost",
    "Decomposition",
    "DirectionCost",
    "Field",
    "ForkField",
    "FunctionField",
    "Groups",
    "Layered",
    "Linearisation",
    "Maps",
    "Part",
    "Path",
    "Pushforward",
    "Query",
    "Sample",
    "Space",
    "SpanField",
    "Table",
    "Targets",
    "ablated_rows",
    "dot",
    "pulled_to_attention",
]
