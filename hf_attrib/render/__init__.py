"""How results look: in a terminal, as a page, as a picture. A view maps a result to a renderable.

Views know results and no model, and they never print; all text from outside passes ``safe_text``.
"""

from hf_attrib.render.console.heatmap import Heatmap
from hf_attrib.render.console.robustness import CurveView, RobustnessView
from hf_attrib.render.console.side_by_side import SideBySide
from hf_attrib.render.export import plain, to_svg, to_text
from hf_attrib.render.html.document import to_frame, to_html
from hf_attrib.render.html.robustness import robustness_to_html

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
