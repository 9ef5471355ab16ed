"""Why did retrieval-augmented generation answer so? Find the passage that did it, and who objects.

The store holds an outdated fact beside the right one, and the answer is wrong. The table says which
passage the answer rests on, at which rank retrieval had it, and which passage speaks against it.

    python examples/rag_debugging.py
"""

from __future__ import annotations

import hf_attrib

QUESTION = "What color is Bob's key?"
TEMPLATE = "{documents} Q: {question} A:"
#: As a retriever returns them, best first.
DOCUMENTS = (
    {"id": "ada", "text": "Ada's key is red.", "score": 0.91},
    {"id": "bob-home", "text": "Bob lives in Paris.", "score": 0.84},
    {"id": "bob-2019", "text": "Bob's key is green.", "score": 0.80},
    {"id": "bob-2024", "text": "Bob's key is blue.", "score": 0.78},
)


def advice(found: hf_attrib.Passages, word: str) -> list[str]:
    """Return what to look at, by what the passages were worth for a word of the answer.

    Args:
        found: the passages.
        word: of the answer.
    """
    cited, said = found.confirm(word).cited, []
    rows = found.to_rows(word)
    for row in (rows[index] for index in cited):
        said.append(
            f"{word!r} rests on {row['id']} (retrieved at rank {row['retrieved_rank']}): without "
            f"it {row['drop']:.1f} nats are lost. Is it up to date?"
        )
    for row in rows:
        if row["status"] == "against":
            said.append(
                f"{row['id']} speaks against {word!r} ({row['score']:+.1f} nats). Do the two "
                "contradict each other?"
            )
    return said


def main() -> None:
    """Print the table, the advice, and the mass on documents and question."""
    model = hf_attrib.attach(*hf_attrib.embedded.load("keys-llama"))
    result = model.explain(QUESTION, documents=list(DOCUMENTS), template=TEMPLATE)
    word = result.response.text.removesuffix("</s>").rstrip(".").split()[-1]
    print(f"Q: {QUESTION}\nA:{result.response.text.removesuffix('</s>')}\n")
    print("retrieved  used   nats  document")
    for row in result[word].documents:
        ranks = f"{row['retrieved_rank']:9}  {row['used_rank']:4}"
        print(f"{ranks}  {row['score']:+.1f}  {row['id']}")
    masses = result[word].mass(documents="document", question=QUESTION)
    print(f"\nMass on {word!r}, in nats, share and tokens:\n{masses}\n")
    print("\n".join(["Look at:", *(f"- {line}" for line in advice(result.passages, word))]))


if __name__ == "__main__":
    main()
