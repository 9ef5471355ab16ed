"""Paths through embedding space and the integrals of gradients along them.

``integrate`` places its own nodes until the error that it estimates is small enough;
``line_integral`` takes a rule with fixed nodes. Random numbers that depend on a seed alone are here
as well. This folder sees a field and nothing behind it.
"""

from hf_attrib.integration.adaptive import ROW_TOLERANCE, Budget, first_nodes, integrate
from hf_attrib.integration.fixed import line_integral, polyline_integral
from hf_attrib.integration.log_weight import CELL_NODES, MOST_LOG_NODES, gauss_log, log_cell
from hf_attrib.integration.paths import graded, monotone, polyline, straight
from hf_attrib.integration.rules import (
    MOST_GAUSS_NODES,
    RULES,
    STEP_RULES,
    Rule,
    composite,
    gauss_legendre,
    midpoint,
    reverse,
)
from hf_attrib.integration.sampling import Average, Running, cloud, derived, generator, noise

__all__ = [
    "CELL_NODES",
    "MOST_GAUSS_NODES",
    "MOST_LOG_NODES",
    "ROW_TOLERANCE",
    "RULES",
    "STEP_RULES",
    "Average",
    "Budget",
    "Rule",
    "Running",
    "cloud",
    "composite",
    "derived",
    "first_nodes",
    "gauss_legendre",
    "gauss_log",
    "generator",
    "graded",
    "integrate",
    "line_integral",
    "log_cell",
    "midpoint",
    "monotone",
    "noise",
    "polyline",
    "polyline_integral",
    "reverse",
    "straight",
]
