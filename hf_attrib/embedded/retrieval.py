"""A synthetic reading task whose responsible tokens are known.

A prompt states a few facts about people and asks for one of them. Names and relations both repeat,
so the answer's value can only come from one place: the value word of the one fact with the right
name and the right relation. That word is the ground truth an attribution should find.

    >>> example = next(examples(1, facts=2, seed=0))
    >>> start, end = example.cause
    >>> example.prompt[start:end] == example.value
    True
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from hf_attrib.errors import InputError

__all__ = ["Fact", "Relation", "RetrievalExample", "draw_facts", "examples", "vocabulary"]

Span = tuple[int, int]
Split = Literal["held-out", "train"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _words(
    "Ada Bob Carl Dana Emma Finn Gina Hugo Iris Jack Kate Liam Mona Nick Olga Paul Rosa Sam Tina "
    "Uma Vera Will Zoe Alan Beth Cora Dean Eric Fay Gus Hope Ivan June Kurt Lena Mark Nora Owen "
    "Pia Ruth"
)
COLORS = _words("red blue green white black yellow orange purple pink gray brown gold silver")
OBJECTS = _words("key car hat bag cup bike coat door")
CITIES = _words(
    "Paris Rome Berlin Madrid London Vienna Oslo Athens Tokyo Cairo Lima Delhi Boston Dublin"
)
FOODS = _words("rice soup bread cheese pasta fish cake salad pizza beans")
JOBS = _words("baker pilot doctor teacher farmer lawyer singer painter nurse chef")


@dataclass(frozen=True)
class Relation:
    """What can be said and asked about a person; `{name}` and `{value}` are filled in."""

    sentence: str
    question: str
    values: tuple[str, ...]


RELATIONS = (
    *(
        Relation(f"{{name}}'s {thing} is {{value}}.", f"What color is {{name}}'s {thing}?", COLORS)
        for thing in OBJECTS
    ),
    Relation("{name} lives in {value}.", "Where does {name} live?", CITIES),
    Relation("{name} likes {value}.", "What does {name} like?", FOODS),
    Relation("{name} is a {value}.", "What is {name}'s job?", JOBS),
)
MIN_FACTS = 2
MAX_FACTS = 10


def vocabulary() -> tuple[str, ...]:
    """Return every word of the task once, without punctuation and the possessive `'s`."""
    texts = [f"Q A {' '.join(NAMES)}"]
    for relation in RELATIONS:
        for value in relation.values:
            texts.append(relation.sentence.format(name=NAMES[0], value=value))
            texts.append(relation.question.format(name=NAMES[0]))
    words = re.findall(r"(?<!')\b[A-Za-z]+", " ".join(texts))
    return tuple(dict.fromkeys(words))


@dataclass(frozen=True)
class Fact:
    """One statement, together with the question that it answers."""

    name: str
    relation: Relation
    value: str

    @property
    def sentence(self) -> str:
        """The statement; it is also the full answer to the question."""
        return self.relation.sentence.format(name=self.name, value=self.value)

    @property
    def question(self) -> str:
        """The question that only this fact of a prompt answers."""
        return self.relation.question.format(name=self.name)


@dataclass(frozen=True)
class RetrievalExample:
    """One prompt, its right answer and the place in the prompt that the answer's value comes from.

    Args:
        context: The facts.
        question: What is asked, without the `Q:` before it.
        prompt: The whole text for the model, `{context} Q: {question} A:`.
        answer: The right answer, a full sentence.
        value: The word of the answer that only the right fact tells.
        cause: Where that word stands in the right fact: (start, end) characters of `prompt`.
        facts: Where each fact stands in `prompt`.
        right_fact: Which of `facts` answers the question.
    """

    context: str
    question: str
    prompt: str
    answer: str
    value: str
    cause: Span
    facts: tuple[Span, ...]
    right_fact: int


def draw_facts(rng: random.Random, count: int) -> list[Fact]:
    """Return `count` random facts; each (name, relation) pair occurs once."""
    names = rng.sample(NAMES, max(2, (count + 1) // 2))
    pairs: dict[tuple[str, Relation], None] = {}
    while len(pairs) < count:
        pairs[rng.choice(names), rng.choice(RELATIONS)] = None
    return [Fact(name, relation, rng.choice(relation.values)) for name, relation in pairs]


def pose(facts: Sequence[Fact], right_fact: int) -> RetrievalExample:
    """Return the prompt that states `facts` in order and asks for the one at `right_fact`."""
    spans: list[Span] = []
    start = 0
    for fact in facts:
        spans.append((start, start + len(fact.sentence)))
        start = spans[-1][1] + 1
    context = " ".join(fact.sentence for fact in facts)
    right = facts[right_fact]
    value_end = spans[right_fact][1] - len(".")
    return RetrievalExample(
        context=context,
        question=right.question,
        prompt=f"{context} Q: {right.question} A:",
        answer=right.sentence,
        value=right.value,
        cause=(value_end - len(right.value), value_end),
        facts=tuple(spans),
        right_fact=right_fact,
    )


def stream(facts: int, seed: int, split: Split) -> random.Random:
    """Return the random numbers of one seed; the two splits never share a stream."""
    return random.Random(f"retrieval {split} {facts} {seed}")


def examples(
    n: int, facts: int, seed: int, split: Split = "held-out"
) -> Iterator[RetrievalExample]:
    """Yield `n` prompts of `facts` facts each, the same ones in every process.

    Args:
        n: How many prompts.
        facts: Facts per prompt, 2 to 10.
        seed: Any integer; another seed gives other prompts.
        split: `"held-out"`, or `"train"` for the stream that the embedded model was trained on.

    Raises:
        InputError: `facts` is out of range.
    """
    if not MIN_FACTS <= facts <= MAX_FACTS:
        raise InputError(f"got facts={facts}; use {MIN_FACTS} to {MAX_FACTS} facts a prompt")
    rng = stream(facts, seed, split)
    for _ in range(n):
        yield pose(draw_facts(rng, facts), rng.randrange(facts))
