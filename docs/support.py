"""Write docs/support.md: build a tiny model of every family, explain it, and say what happened.

That takes about a minute. The tests check the page against the families that transformers knows,
and, with ``-m slow``, each of its lines against what is found anew.
"""

import re
import sys
import warnings
from pathlib import Path

import transformers

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from helpers import families  # noqa: E402  the folder of the tests had to be named first

from hf_attrib import Explainer, UnsupportedModelError  # noqa: E402

#: What a refusal says, and in plain language why.
REASONS = {
    "generate\\(\\) feeds it something else": "later tokens change the logits of earlier ones, "
    "and `generate` adds inputs of its own, so what generates cannot be explained",
    "is not its derivative": "some of its steps run without gradients, so scores would not add up",
    "embeddings of .* are": "its embedding module returns another shape than tokens × width",
    "forward pass .* fails": "its forward pass does not run on token ids and positions alone",
}

#: What a note of a result says, and how the table puts it.
NOTES = {
    "routes tokens to experts": "experts",
    "by a second path": "second path of the ids",
    "looks ahead": "needs `model.generation_config.use_cache = False`",
}

INTRODUCTION = """\
# Is my model supported?

Look up the `model_type` of your model's `config.json` in the table of the class that you load it
with. The answer holds for the family, whatever the size and the weights; and every model is
checked again at its first use, so that an unsuited one is refused with the reason rather than
explained wrongly.

Written by `python docs/support.py` with transformers {version}, from one tiny random model of
each family; the tests hold each of them to the laws of `tests/model/test_architectures.py`:
injecting its own embeddings changes nothing, scores do not depend on batches or chunks, later
tokens score exactly 0, scores add up, and the model is left as it was.

- **works**: one pass over prompt and answer explains all generated tokens.
- **step by step**: later tokens change the logits of earlier ones, so each generated token is
  explained by a pass of its own over the tokens before it. That costs as many passes as there are
  tokens. The cache of such a model generates something else than those passes compute, so it has
  to be switched off first. Where only the length of a pass matters (frequencies of positions that
  depend on the last one), the table says **works**: the sequences that it matters to are found at
  run time and explained step by step, with a note.
- **refused**: `UnsupportedModelError` says why.
- **not tried**: the family has no model that reads text alone.

Remarks:

- *experts*: tokens are routed to experts. The explained function jumps where the routing changes,
  so a completeness gap may stay however many steps are taken; the result says so.
- *as a decoder*: with `is_decoder=True` in the config. Without it the model looks ahead, and is
  explained step by step once its cache is off.
- *second path of the ids*: the model reads token ids a second time, besides the embeddings that
  are explained. Scores cover the embeddings only; the result says so.
- *generates otherwise with a cache*: in this version of transformers, generation with a cache
  does not compute what one pass over all tokens does. Set `model.generation_config.use_cache =
  False`, or what is explained is not what was generated.

An encoder and a decoder of different embedding widths are refused. Models that read images or
sound as well are explained on text prompts. Quantised layers that round activations are refused.
"""

TITLES = {
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "pair": "EncoderDecoderModel, encoder:decoder",
}


def page() -> str:
    """Return the page, from models that are built and explained one after the other."""
    parts = [INTRODUCTION.format(version=transformers.__version__)]
    for kind, title in TITLES.items():
        names = [name for name in families.ALL if name.split("/")[0] == kind]
        lines = [line(n, None if n in families.NOT_BUILT else families.build(n)) for n in names]
        head = [f"## {title}", "", "| model_type | answer | remark |", "|---|---|---|"]
        parts.append("\n".join([*head, *lines]) + "\n")
    return "\n".join(parts)


def line(name: str, model: object) -> str:
    """Return the line of one family.

    Args:
        name: one of ``families.ALL``.
        model: its tiny model, or ``None`` if none is built.
    """
    answer, remark = "not tried", families.NOT_BUILT.get(name, "")
    if model is not None:
        answer, remark = _answer(model)
    kind, family = name.split("/")
    if name in families.OTHER_WITH_CACHE:
        remark = "; ".join(filter(None, [remark, "generates otherwise with a cache"]))
    if kind == "causal" and family in families.DECODERS and answer == "works":
        remark = "as a decoder"
    return f"| `{family}` | {answer} | {remark} |"


def _answer(model: object) -> tuple[str, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = Explainer(model).explain(
                input_ids=families.ids(11, seed=1), response_ids=families.ids(3, seed=3), steps=1
            )
    except UnsupportedModelError as error:
        (reason,) = [why for said, why in REASONS.items() if re.search(said, str(error))]
        return "refused", reason
    remarks = [short for said, short in NOTES.items() if any(said in note for note in found.notes)]
    ahead = any("a pass of its own" in note for note in found.notes)
    return "step by step" if ahead else "works", "; ".join(remarks)


if __name__ == "__main__":
    (ROOT / "docs" / "support.md").write_text(page(), encoding="utf-8")
