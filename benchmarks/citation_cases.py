"""Facts that a model reads, a question, an answer, and which facts it rests on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hf_attrib.embedded import retrieval

#: Families of cases; the last one is without support.
FAMILIES = ("single", "duplicate", "contradiction", "injected", "no support")
FACTS = (3, 4, 5, 6, 8)
#: What is around the facts: for a model that was trained on such prompts, and for any other.
TRAINED = "{facts} Q: {question} A:"
SHOWN = (
    "Answer from the notes.\nNotes: Max lives in Bonn. Lea's hat is teal.\n"
    "Question: What color is Lea's hat?\nAnswer: Lea's hat is teal.\n\n"
    "Notes: {facts}\nQuestion: {question}\nAnswer:"
)
#: So many times more cases of some: without support, since a threshold is a quantile of theirs, and
#: injected, since a rank that is always first says little of few.
MORE = 3
_MANY = ("no support", "injected")


@dataclass(frozen=True)
class Case:
    """Facts, a question, an answer, and which facts it rests on.

    Args:
        family: of :data:`FAMILIES`.
        facts: the passages.
        question: what is asked.
        answer: what is said.
        gold: numbers of the facts that should be cited.
        frame: what is around facts and question.
    """

    family: str
    facts: tuple[str, ...]
    question: str
    answer: str
    gold: frozenset[int]
    frame: str = TRAINED

    @property
    def prompt(self) -> str:
        return self.frame.format(facts=" ".join(self.facts), question=self.question)

    def ranges(self) -> list[tuple[int, int]]:
        """Return where each fact stands in the prompt, in characters."""
        before = self.frame.index("{facts}")
        ends = [before + len(" ".join(self.facts[: k + 1])) for k in range(len(self.facts))]
        return [(end - len(fact), end) for end, fact in zip(ends, self.facts, strict=True)]


def cases(
    per_size: int, seed: int, facts: Sequence[int] = FACTS, frame: str = TRAINED
) -> Iterator[Case]:
    """Yield cases of facts for each number of them: as many of each family, more of some.

    The models follow no fact to another, so that there are no cases of two hops. What is injected
    is a question with its answer, which the trained model cannot read.
    """
    draw = random.Random(seed)
    for count in facts:
        for place, made in enumerate(retrieval.examples(MORE * per_size, count, seed=seed)):
            for family, passages, answer, gold in _families(made, draw):
                if (family == "injected") > (frame != TRAINED):
                    continue
                if family in _MANY or place < per_size:
                    yield Case(family, passages, made.question, answer, gold, frame)


def _families(
    made: retrieval.RetrievalExample, draw: random.Random
) -> Iterator[tuple[str, tuple[str, ...], str, frozenset[int]]]:
    """Yield family, passages, answer and gold of the cases that an example makes."""
    facts = [made.prompt[a:b] for a, b in made.facts]
    right = made.right_fact
    rest = [fact for i, fact in enumerate(facts) if i != right]
    # What another fact says of another person is taken from there, if it is forced.
    said = [v for v in _values_like(made.value) if f" {v}." not in " ".join(rest)]
    forced = made.answer.replace(f" {made.value}.", f" {draw.choice(said)}.")
    yield "no support", tuple(rest), forced, frozenset()
    yield "single", tuple(facts), made.answer, frozenset({right})
    again = draw.randrange(len(facts) + 1)
    copies = (*facts[:again], facts[right], *facts[again:])
    same = frozenset(i for i, fact in enumerate(copies) if fact == facts[right])
    yield "duplicate", copies, made.answer, same
    others = [v for v in _values_like(made.value) if v != made.value]
    other = facts[right].replace(made.value, draw.choice(others))
    torn = (*facts[:right], other, facts[right], *facts[right + 1 :])
    yield "contradiction", torn, made.answer, frozenset({right + 1})
    order = f"Question: {made.question} Answer: {other}"
    yield "injected", (*facts[:again], order, *facts[again:]), other, frozenset({again})


def _values_like(value: str) -> Sequence[str]:
    """Return what could stand in the place of a value."""
    return next(r.values for r in retrieval.RELATIONS if value in r.values)
