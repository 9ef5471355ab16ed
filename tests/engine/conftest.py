"""Fields of models that tell what they run."""

import pytest
from helpers.memory_events import Events

from hf_attrib.field import Linearisation, Pushforward
from hf_attrib.model import EmbeddingField


@pytest.fixture
def watch(monkeypatch):
    """Send what fields of a model run to the events that are current."""
    current = [Events()]
    linearise, pushforward = EmbeddingField.linearise, EmbeddingField.pushforward
    value = EmbeddingField._value

    def watched(self, points, sequence, target):
        linear = linearise(self, points, sequence, target)

        def pullback(weights):
            gradient = linear.pullback(weights)
            current[0].happened(gradient)
            return gradient

        return Linearisation(linear.value, pullback)

    def pushed(self, points, sequence, target):
        forward = pushforward(self, points, sequence, target)

        def along(rows, direction):
            found = forward.along(rows, direction)
            current[0].happened(found, len(points))
            return found

        return Pushforward(forward.value, along)

    def valued(self, logits, *rest):
        current[0].happened(logits)
        return value(self, logits, *rest)

    monkeypatch.setattr(EmbeddingField, "linearise", watched)
    monkeypatch.setattr(EmbeddingField, "pushforward", pushed)
    monkeypatch.setattr(EmbeddingField, "_value", valued)

    def begin(events):
        current[0] = events
        return events

    return begin
