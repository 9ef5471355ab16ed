"""Models whose layers torch compiles: the same scores, by what was compiled."""

import pytest
import torch
from helpers import tiny

from hf_attrib import Explainer

#: A long answer from two groups of inputs is explained along directions.
QUESTION = {
    "input_ids": tiny.ids(9),
    "response_ids": tiny.ids(14, seed=1),
    "method": "integrated_gradients",
    "steps": 8,
}
GROUPED = QUESTION | {"groups": [(0, 2), (2, 9)]}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # as torch compiles
def test_compiled_layers_are_run_as_such():
    """Also after memory was probed, inside whose mode torch gives up what it compiles."""
    runs = []

    def backend(graph, inputs):
        def run(*arguments):
            runs.append(torch.is_grad_enabled())
            return graph.forward(*arguments)

        return run

    torch._dynamo.reset()  # families share code, and one piece is compiled a few times only
    model = tiny.model("llama")
    expected, grouped = (Explainer(model).explain(**asked) for asked in (QUESTION, GROUPED))
    for layer in model.model.layers:
        layer.compile(backend=backend, dynamic=True)
    explainer = Explainer(model)
    explainer.explain(**QUESTION)
    runs.clear()
    found = explainer.explain(**QUESTION)
    # What is observed first, and then the nodes, at least once with a gradient in each layer.
    assert runs.count(True) >= len(model.model.layers)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-6)
    joined = explainer.explain(**GROUPED)
    assert joined.run.directional_rows == grouped.run.directional_rows > 0
    torch.testing.assert_close(joined.scores, grouped.scores, rtol=1e-4, atol=1e-6)
