"""Which instruction of a system message made a chat model say so, and what would it say without it?

A system message holds many sentences. The score of each says what it did to the answer; leaving the
strongest out and asking again is the test. Turns share the whole answer's log-probability: what the
system message did, what the user's message did.

    python examples/chat_audit.py
"""

from __future__ import annotations

from typing import Any

import hf_attrib

#: The embedded model has no chat template of its own, so this one stands for that of your model.
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}A:"
SYSTEM = "Ada's key is red. Bob's key is blue. Emma lives in Rome. Carl likes rice."
ASKED = "Q: What color is Bob's key?"


def chat(system: str) -> list[dict[str, str]]:
    """Return the conversation with a system message."""
    return [{"role": "system", "content": system}, {"role": "user", "content": ASKED}]


def instructions(result: hf_attrib.Attribution) -> list[tuple[str, float]]:
    """Return the sentences of the system message with their scores, strongest first."""
    grouped = result.group("sentence")
    roles = zip(grouped.pieces, grouped.total.tolist(), grouped.roles, strict=True)
    own = [(piece.strip(), score) for piece, score, role in roles if role == "system"]
    return sorted(own, key=lambda entry: -abs(entry[1]))


def said_by(model: Any, messages: list[dict[str, str]]) -> str:
    """Return what the model says."""
    answer: str = model.explain(messages, method="saliency").response.text
    return answer.removesuffix("</s>").strip()


def main() -> None:
    """Print what each turn and each instruction did, and the answer without the strongest."""
    model, tokenizer = hf_attrib.embedded.load("keys-llama")
    tokenizer.chat_template = CHAT_TEMPLATE
    model = hf_attrib.attach(model, tokenizer)
    result = model.explain(chat(SYSTEM), groups="sentence")
    print(f"user:  {ASKED}\nmodel: {result.response.text.removesuffix('</s>').strip()}\n")
    turns = result.group("turn")
    for role, score in zip(turns.roles, turns.total.tolist(), strict=True):
        print(f"{role:8} {score:+6.2f} nats")
    change = float((result.value - result.reference_value).sum())
    print(f"sum      {float(result.total.sum()):+6.2f}, f(x) - f(x') is {change:+.2f}\n")
    scored = instructions(result)
    for sentence, score in scored:
        print(f"{score:+6.2f}  {sentence}")
    strongest = scored[0][0]
    without = SYSTEM.replace(strongest, "").replace("  ", " ").strip()
    print(f"\nLook at: {strongest}\nWithout it the model says: {said_by(model, chat(without))}")


if __name__ == "__main__":
    main()
