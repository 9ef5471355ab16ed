"""Is there any support for what was answered? An answer that no passage carries is flagged.

*Own knowledge* says that the word is as likely without the passages: the model would have said it
anyway. That makes it unsupported, and not false; nor does support make an answer true.

    python examples/hallucination_check.py
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import hf_attrib

TEMPLATE = "{documents} Q: {question} A:"
#: Questions with what retrieval found for them; the last two find nothing that answers.
CASES = (
    ("Where does Bob live?", ("Ada's key is red.", "Bob lives in Paris.")),
    ("Where does Fay live?", ("Ada's key is red.", "Gus is a baker.")),
    ("What is Hugo's job?", ("Ada's key is red.", "Kate likes fish.")),
)


@dataclass(frozen=True)
class Verdict:
    """What an answer rests on.

    Args:
        question: that was asked.
        word: of the answer, that which tells something.
        status: of the passages for this word.
        gain: nats that all passages together give to it.
        cited: text of those that it rests on.
    """

    question: str
    word: str
    status: str
    gain: float
    cited: tuple[str, ...]

    @property
    def supported(self) -> bool:
        """Whether there are passages that it rests on."""
        return bool(self.cited)


def checked(model: Any, question: str, documents: tuple[str, ...]) -> Verdict:
    """Let a model answer from documents, and look for those that carry its answer.

    Args:
        model: that was attached.
        question: to answer.
        documents: to answer from.
    """
    found = model.passages(question, documents=list(documents), template=TEMPLATE)
    # The word that answers: the rest of the sentence repeats the question.
    word = found.response.text.removesuffix("</s>").rstrip(".").split()[-1]
    told = found.confirm(word)
    cited = tuple(documents[index] for index in told.cited)
    return Verdict(question, word, told.status, told.gain, cited)


def main() -> None:
    """Print a line for each answer, and which of them to look at."""
    model = hf_attrib.attach(*hf_attrib.embedded.load("keys-llama"))
    verdicts = [checked(model, *case) for case in CASES]
    for one in verdicts:
        rests = " ".join(one.cited) or "nothing"
        print(f"{one.question:22} {one.word:8} {one.gain:+.1f} nats  {one.status}: {rests}")
    for one in verdicts:
        if not one.supported:
            print(f"Look at: {one.question} Nothing that was retrieved carries {one.word!r}.")


if __name__ == "__main__":
    main()
