"""How results look: in a terminal, as a page, as a picture. A view maps a result to a renderable.

Views know results and no model, and they never print; all text from outside passes ``safe_text``.
Here each kind of result is given its view, and its page if it has one; what any result can have
(text, a page that holds it, a frame for notebooks) follows from the view.
"""

from hf_attrib.render.console.evaluation import ChoiceView, CurvesView, EvaluationView, SanityView
from hf_attrib.render.console.heatmap import Heatmap
from hf_attrib.render.console.interactions import InteractionsView
from hf_attrib.render.console.passages import PassagesView
from hf_attrib.render.console.robustness import CurveView, RobustnessView
from hf_attrib.render.console.side_by_side import SideBySide
from hf_attrib.render.export import plain, to_svg, to_text, told
from hf_attrib.render.html.attribution import page_of
from hf_attrib.render.html.document import frame_of, plain_page, told_frame
from hf_attrib.render.html.evaluation import evaluation_page
from hf_attrib.render.html.interactions import interactions_page
from hf_attrib.render.html.passages import passages_page
from hf_attrib.render.html.robustness import robustness_page
from hf_attrib.render.latex import heatmap_latex
from hf_attrib.render.plot import curves_figure, heatmap_figure
from hf_attrib.results import (
    Attribution,
    Comparison,
    Interactions,
    Passages,
    Result,
    Told,
    figure,
    frame,
    latex,
    page,
    text,
    view,
)
from hf_attrib.robustness import RobustAccuracy, Robustness
from hf_attrib.validation import Choice, Evaluation, Sanity

__all__ = [
    "ChoiceView",
    "CurveView",
    "CurvesView",
    "EvaluationView",
    "Heatmap",
    "InteractionsView",
    "PassagesView",
    "RobustnessView",
    "SanityView",
    "SideBySide",
    "plain",
    "to_svg",
    "to_text",
]

view.register(Told, told)
view.register(Attribution, Heatmap)
view.register(Comparison, SideBySide)
view.register(Interactions, InteractionsView)
view.register(Passages, PassagesView)
view.register(Robustness, RobustnessView)
view.register(RobustAccuracy, CurveView)
view.register(Choice, ChoiceView)
view.register(Sanity, SanityView)
view.register(Evaluation, EvaluationView)

page.register(Attribution, page_of)
page.register(Comparison, page_of)
page.register(Interactions, interactions_page)
page.register(Passages, passages_page)
page.register(Robustness, robustness_page)
page.register(Evaluation, evaluation_page)
page.register(Result, plain_page)

frame.register(Told, told_frame)
frame.register(Result, frame_of)
text.register(Result, plain)

figure.register(Attribution, heatmap_figure)
figure.register(Evaluation, curves_figure)

latex.register(Attribution, heatmap_latex)
