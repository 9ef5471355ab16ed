"""Results made by hand, without a model."""

import random
from dataclasses import replace

import torch

from hf_attrib.results import Attribution, Coalitions, Passages, Run
from hf_attrib.text import Span, Tokens
from hf_attrib.text.documents import Document

RUN = Run(
    method="integrated_gradients",
    method_fields={"steps": 8, "rule": None},
    target="log_prob",
    contrast_ids=None,
    contrast_pieces=None,
    attribute_to="prompt",
    movable="content",
    baseline="mean embedding",
    signed=True,
    identity="f(x) - f(x')",
    resolution=1e-3,
    tolerance=0.02,
    model="tiny/model",
    model_revision=None,
    dtype="float32",
    versions={},
    seconds=1.25,
    forward_rows=9,
    backward_rows=1200,
)


HOSTILE = (
    "\x1b[31mred", "\x1b]8;;https://evil.example\x1b\\x\x1b]8;;\x1b\\", "\x07", "\x9b2J", "\x7f",
    "[bold]", "[/]", "[link=https://evil.example]x[/link]", ":smile:", "\u202eabc", "\u2066",
    "\u200b", "\u200d", "\ud800", "\u2028", "\u2029", "\r", "\r\n", "\x0b\x0c", "\x85", "\ufeff",
    "\U000e0041", "\U000e0101", "\u3164", "\ufffe", "\u0301", "\ufe0f", "", " ", "  ", "\n", "\n\n",
    "\t", "\u00a0", "\u3000", "埃菲尔铁塔", "。", "👩\u200d💻", "🇫🇷", "🇫", "🏽", "❤\ufe0f",
    "한국어", "नमस्ते", "שלום", "x" * 130, "漢" * 70, " word", "⁺", "<b>&amp;</b>", "]]>", "{x}",
    "\x00",
)  # fmt: skip


def tokens(pieces, roles="user"):
    roles = [roles] * len(pieces) if isinstance(roles, str) else roles
    ends = [len("".join(pieces[: i + 1])) for i in range(len(pieces))]
    spans = tuple((end - len(p), end) for end, p in zip(ends, pieces, strict=True))
    return Tokens(torch.arange(len(pieces)), tuple(pieces), tuple(roles), spans, "".join(pieces))


def attribution(scores, inputs, response, missed=0.0, **run):
    """A result whose gap is ``missed`` for every target, or for each its own."""
    inputs = inputs if isinstance(inputs, Tokens) else tokens(inputs)
    scores = torch.as_tensor(scores, dtype=torch.float64)
    value = torch.full((len(scores),), -0.5, dtype=torch.float64)
    missed = torch.as_tensor(missed, dtype=torch.float64)
    return Attribution(
        scores=scores,
        inputs=inputs,
        response=tokens(response, "generated"),
        value=value,
        reference_value=value - scores.sum(-1) / (1 + missed),
        probability=value.exp(),
        run=replace(RUN, **run),
    )


def paris(**run):
    roles = ["special", "user", "user", "user", "user", "user"]
    pieces = ["<bos>", "The", " capital", " of", " France", "\n"]
    scores = [[0, 0.1, 1.2, -0.8, 3.1, 0], [0, 0, 0.5, -1.4, 0.3, 0]]
    missed = [0.0, 0.081]
    return attribution(scores, tokens(pieces, roles), [" Paris", "."], missed=missed, **run)


def hostile(seed, **run):
    draw = random.Random(seed)
    pieces = draw.choices(HOSTILE, k=60)
    response = draw.choices(HOSTILE, k=8)
    scores = torch.randn(8, 60, generator=torch.Generator().manual_seed(seed)) ** 3
    return attribution(scores, pieces, response, missed=draw.random(), **run)


def sampled():
    result = attribution([[3.0, -1.0], [1.0, 0.5]], ["in", "put"], ["a", "b"])
    errors = torch.tensor([[0.5, 0.25], [0.125, 1.0]]).double()
    return replace(result, standard_error=errors, sum_standard_error=errors.sum(-1))


def passages(texts=("Ada is in.", "Bob is out.", "Ada is Eve.", "Zoe is up."), **run):
    """Bob's sentence is worth 6 nats by [2]; Eve's 4 by [1] and [3] together; [4] costs Zoe's 3."""
    answer = [" Bob", " is", " out", ".", " Eve", " is", " in", ".", " Zoe", " is", " down", "."]
    names, retrieval = ("first", "second", "third", "fourth"), (0.9, 0.2, 0.5, 0.7)
    known = zip(
        texts, ("a", "b", "c", "d"), names, names, [None] * 4, retrieval, range(4), strict=True
    )
    kept = torch.tensor([[subset >> i & 1 for i in range(4)] for subset in range(16)]) == 1
    values = torch.zeros(16, len(answer), dtype=torch.float64)
    values[:, 2] = -6.0 * ~kept[:, 1]
    values[:, 6] = -4.0 * ~(kept[:, 0] & kept[:, 2])
    values[:, 10] = -3.0 * kept[:, 3]
    table = Coalitions(kept, values)
    ends = [len("".join(texts[: i + 1])) for i in range(4)]
    return Passages(
        table=table,
        scores=torch.stack([table.shapley((t, t + 1)) for t in range(len(answer))], 1),
        spans=tuple(Span(i, i + 1) for i in range(4)),
        extents=tuple((end - len(text), end) for end, text in zip(ends, texts, strict=True)),
        inputs=tokens(texts),
        response=tokens(answer, "generated"),
        probability=values[15].exp(),
        run=replace(RUN, documents=tuple(Document(*one) for one in known), **run),
        threshold=1.0,
    )
