"""Renderers: from an :class:`~hf_attrib.attribution.Attribution` to something to look at."""

from hf_attrib.render.export import to_svg, to_text
from hf_attrib.render.heatmap import Heatmap

__all__ = ["Heatmap", "to_svg", "to_text"]
