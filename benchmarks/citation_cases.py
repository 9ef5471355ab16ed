"""Facts that the embedded keys-llama reads, a question, an answer, and which facts it rests on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hf_attrib.embedded import retrieval

#: Families of cases; the last one is without support.
FAMILIES = ("single", "duplicate", "contradiction", "no support")
FACTS = (3, 4, 5, 6, 8)
#: So many times more cases without support, since a threshold is a quantile of theirs.
MORE = 3


@dataclass(frozen=True)
class Case:
    """Facts, a question, an answer, and which facts it rests on.

    Args:
        family: of :data:`FAMILIES`.
        facts: the passages.
        question: what is asked.
        answer: what is said.
        gold: numbers of the facts that should be cited.
    """

    family: str
    facts: tuple[str, ...]
    question: str
    answer: str
    gold: frozenset[int]

    @property
    def prompt(self) -> str:
        return f"{' '.join(self.facts)} Q: {self.question} A:"

    def ranges(self) -> list[tuple[int, int]]:
        """Return where each fact stands in the prompt, in characters."""
        ends = [len(" ".join(self.facts[: k + 1])) for k in range(len(self.facts))]
        return [(end - len(fact), end) for end, fact in zip(ends, self.facts, strict=True)]


def cases(per_size: int, seed: int) -> Iterator[Case]:
    """Yield cases of facts for each number of them: as many of each family, more without support.

    The model follows no fact to another, so that there are no cases of two hops.
    """
    draw = random.Random(seed)
    for count in FACTS:
        for place, made in enumerate(retrieval.examples(MORE * per_size, count, seed=seed)):
            facts = [made.prompt[a:b] for a, b in made.facts]
            right, asked = made.right_fact, (made.question, made.answer)
            rest = [fact for i, fact in enumerate(facts) if i != right]
            # What another fact says of another person is taken from there, if it is forced.
            said = [v for v in _values_like(made.value) if f" {v}." not in " ".join(rest)]
            forced = made.answer.replace(f" {made.value}.", f" {draw.choice(said)}.")
            yield Case("no support", tuple(rest), made.question, forced, frozenset())
            if place >= per_size:
                continue
            yield Case("single", tuple(facts), *asked, frozenset({right}))
            again = draw.randrange(len(facts) + 1)
            copies = [*facts[:again], facts[right], *facts[again:]]
            gold = frozenset(i for i, fact in enumerate(copies) if fact == facts[right])
            yield Case("duplicate", tuple(copies), *asked, gold)
            others = [v for v in _values_like(made.value) if v != made.value]
            other = facts[right].replace(made.value, draw.choice(others))
            torn = [*facts[:right], other, facts[right], *facts[right + 1 :]]
            yield Case("contradiction", tuple(torn), *asked, frozenset({right + 1}))


def _values_like(value: str) -> Sequence[str]:
    """Return what could stand in the place of a value."""
    return next(r.values for r in retrieval.RELATIONS if value in r.values)
