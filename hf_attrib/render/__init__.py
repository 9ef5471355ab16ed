"""Renderers: from an :class:`~hf_attrib.attribution.Attribution` to something to look at."""

from hf_attrib.render.export import plain, to_svg, to_text
from hf_attrib.render.heatmap import Heatmap
from hf_attrib.render.page import to_frame, to_html
from hf_attrib.render.side_by_side import SideBySide

__all__ = ["Heatmap", "SideBySide", "plain", "to_frame", "to_html", "to_svg", "to_text"]
