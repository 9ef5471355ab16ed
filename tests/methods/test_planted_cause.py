"""On prompts whose cause is known, the highest score is on the word that caused the answer."""

import pytest
import torch

from hf_attrib import Explainer
from hf_attrib.embedded import retrieval

#: Converged or not, the ranking must find the cause; gaps have their own tests.
pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

FACTS = (2, 4, 6, 8, 10)


def found_and_asked(explainer, per_size, **options):
    """How often the top token is the planted one, among correctly answered prompts."""
    found = asked = 0
    for facts in FACTS:
        cases = list(retrieval.examples(per_size, facts, seed=11))
        for case, result in zip(
            cases, explainer.explain([c.prompt for c in cases], **options), strict=True
        ):
            if result.response.text.removesuffix("</s>").strip() != case.answer.strip():
                continue
            words = [piece.strip() for piece in result.response_pieces]
            value = len(words) - 1 - words[::-1].index(case.value)
            start, end = result.offsets[int(result.scores[value].argmax())]
            found += case.cause[0] < end and start < case.cause[1]
            asked += 1
    return found, asked


def test_the_default_finds_the_planted_cause(keys):
    found, asked = found_and_asked(Explainer(*keys), 6)
    assert asked >= 28
    assert found == asked


def test_integrated_gradients_find_the_planted_cause(keys):
    found, asked = found_and_asked(Explainer(*keys), 2, method="integrated_gradients")
    assert asked >= 9
    assert found == asked


def test_the_check_can_fail(keys):
    """Saliency does not find it as often: the model tells good methods from weaker ones."""
    found, asked = found_and_asked(Explainer(*keys), 6, method="saliency")
    assert found < 0.95 * asked


def test_a_word_that_is_not_there_cannot_be_the_cause(keys):
    """Asked about a fact that was not stated, the model guesses, and its probability tells."""
    explainer = Explainer(*keys)
    stated = explainer.explain(
        "Bob's key is blue. Q: What color is Bob's key? A:", method="integrated_gradients", steps=8
    )
    guessed = explainer.explain(
        "Ada's key is red. Q: What color is Bob's key? A:", method="integrated_gradients", steps=8
    )
    value = [p.strip() for p in stated.response_pieces].index("blue")
    assert float(stated.probability[value]) > 0.9
    assert torch.isfinite(guessed.scores).all()
