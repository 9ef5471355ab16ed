"""Renderers: from an :class:`~hf_attrib.attribution.Attribution` to something to look at."""

from hf_attrib.render.export import plain, to_svg, to_text
from hf_attrib.render.heatmap import Heatmap
from hf_attrib.render.page import to_frame, to_html
from hf_attrib.render.robustness import CurveView, RobustnessView
from hf_attrib.render.robustness_page import robustness_to_html
from hf_attrib.render.side_by_side import SideBySide

__all__ = [
    "CurveView",
    "Heatmap",
    "RobustnessView",
    "SideBySide",
    "plain",
    "robustness_to_html",
    "to_frame",
    "to_html",
    "to_svg",
    "to_text",
]
