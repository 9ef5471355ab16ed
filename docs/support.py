"""Write docs/support.md: build a tiny model of every family, explain it, and say what happened.

That takes some minutes, and the packages that ``tests/helpers/variants.py`` names. The tests check
the page against the families that transformers knows, and, with ``-m slow``, a third of its lines
against what is found anew.
"""

import copy
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from helpers import families, tiny  # noqa: E402  the folder of the tests had to be named first
from helpers.chat_templates import CONVERSATIONS, TEMPLATES  # noqa: E402
from helpers.variants import VARIANTS  # noqa: E402

from hf_attrib import Attribution, Explainer, InputError, UnsupportedModelError  # noqa: E402

#: What a refusal says, and in plain language why.
REASONS = {
    "generate\\(\\) feeds it something else": "later tokens change the logits of earlier ones, "
    "and `generate` adds inputs of its own, so what generates cannot be explained",
    "is not its derivative": "some of its steps run without gradients; methods that take none "
    "explain it",
    "embeddings of .* are": "its embedding module returns another shape than tokens × width",
    "forward pass .* fails": "its forward pass does not run on token ids and positions alone",
    "no gradient reaches": "its gradients end before the embeddings; methods that take none "
    "explain it",
    "virtual tokens": "it reads embeddings that stand for no token of the prompt",
    "which are no text": "it reads images or sound, and what is scored are tokens of text",
}

#: What a note of a result says, and how the table puts it.
NOTES = {
    "routes tokens to experts": "experts",
    "by a second path": "second path of the ids",
    "looks ahead": "needs `model.generation_config.use_cache = False`",
}

#: What a note on a chat says, by columns.
SAID = ("leaves out", "trims white space", "changes", "does not write")

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
  depend on the last one), the answer is **works**: the sequences that it matters to are found at
  run time and explained step by step, with a note, which the next column measures.
- **refused**: `UnsupportedModelError` says why.
- **not tried**: the family has no model that reads text alone.

Three more laws are measured for each family; *yes* where it keeps them.

- **any length**: a sequence from 3 tokens to 133, or to the most that the tiny model reads, crosses
  every length of its config: windows, blocks, chunks, positions. At both sides of each, and at both
  ends, the value of a target is the log-probability that `generate` computes, without hf_attrib,
  from the tokens before it alone. Or the sequence is explained step by step, with a note; or it is
  refused. Scaled ropes belong to a config and not to a family:
  `tests/model/test_prefix_check.py` has them.
- **generate's ids**: what `generate` returns, with the prompt or the decoder's start in front, is
  explained as the answer in it, to the last bit (more: `tests/text/test_given.py`).
- **training state**: in training, dropping out three tenths, with gradient checkpointing and
  `enable_input_require_grads` where the family has them, and a hook on every module that keeps what
  it returns, scores are the same, and no tensor of a result has a graph (more:
  `tests/model/test_hooks.py`).

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
sound as well are explained on text prompts; images are refused. Quantised layers of torch itself
are refused. What else was loaded is in [a table of its own](#adapters-quantisation-images).
"""

LOADED = """\
## Adapters, quantisation, images

The same family can be had in other ways: with adapters of PEFT, quantised, next to an encoder of
images, compiled. Of each a tiny random model was built (`tests/helpers/variants.py`). The tests
(`tests/model/test_variants.py`) hold scores to two plain passes of that model: their sum is f at
the prompt less f at the mean embedding.

- **works**: so it is, for the default method and for integrated gradients.
- **without gradients**: for methods that run forward alone, as the default does; the others are
  refused, since a gradient through rounded activations is not the derivative.
- **refused**: the error says why.

Activations that are rounded by scales found on the fly (`Int8DynamicActivationInt8WeightConfig` of
torchao) make what a token gets depend on the length of the pass, by chance. Each such model is
checked at run time, and refused where that matters.

GGUF files are dequantised as transformers loads them, and are then like any other weights
(`tests/test_real_model.py`, Gemma 3 270M). Offload and `device_map` are on
[another page](devices.md), and so is half precision.
"""

CHATS = f"""\
## Chat templates

A chat is a matter of the tokenizer and its template, not of the model. So templates were written
in the manner of the real ones and are named by their family (`tests/helpers/chat_templates.py`);
yours may be another version. *indexed* reads the first part of a message only. Conversations:
{", ".join(CONVERSATIONS)}.

- **as rendered**: of the conversations that the template renders, how many are explained by
  exactly the ids of `apply_chat_template`.
- **leaves out**, **trims**, **changes**, **unused**: for how many the result notes that the
  template leaves out words of a message, trims white space, writes something else, or writes no
  tools, documents or calls that it was given. Whatever it writes of a message has its role
  (`tests/text/test_chats.py`).
- **refused**: for how many the template itself raises an error; it is passed on in its words.
"""

TITLES = {
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "pair": "EncoderDecoderModel, encoder:decoder",
}

#: A short prompt and a long answer cross every length; fewer tokens where a model takes no more.
SHORT, LONGEST = 3, (133, 128, 120, 64)
PROMPT, ANSWER = families.ids(11, seed=1), families.ids(3, seed=3)
QUICK = {"method": "input_x_gradient"}
#: Rows at once: none is run to see what memory it takes.
ROWS = {"batch_size": 16}
#: For sums in another order.
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}


def page() -> str:
    """Return the page, from models that are built and explained one after the other."""
    parts = [INTRODUCTION.format(version=transformers.__version__)]
    for kind, title in TITLES.items():
        names = [name for name in families.ALL if name.split("/")[0] == kind]
        lines = [line(n, None if n in families.NOT_BUILT else families.build(n)) for n in names]
        head = "| model_type | answer | any length | generate's ids | training state | remark |"
        parts.append("\n".join([f"## {title}", "", head, "|---|---|---|---|---|---|", *lines, ""]))
    names = "| model | answer | remark |\n|---|---|---|"
    parts.append("\n".join([LOADED, names, *map(variant_line, VARIANTS), ""]))
    head = "| in the manner of | as rendered | leaves out | trims | changes | unused | refused |"
    lines = [chat_line(family) for family in TEMPLATES]
    return "\n".join([*parts, CHATS, head, "|---|---|---|---|---|---|---|", *lines, ""])


def line(name: str, model: Any) -> str:
    """Return the line of one family.

    Args:
        name: one of ``families.ALL``.
        model: its tiny model, or ``None`` if none is built.
    """
    cells, remark = ["not tried", "", "", ""], families.NOT_BUILT.get(name, "")
    if model is not None:
        cells, remark = _answer(model)
    kind, family = name.split("/")
    if name in families.OTHER_WITH_CACHE:
        remark = "; ".join(filter(None, [remark, "generates otherwise with a cache"]))
    if kind == "causal" and family in families.DECODERS and cells[0] == "works":
        remark = "; ".join(filter(None, ["as a decoder", remark]))
    return f"| `{family}` | {' | '.join(cells)} | {remark} |"


def _answer(model: Any) -> tuple[list[str], str]:
    """Return the cells of a model, and the remark on it; the model is changed for good."""
    _drop_out(model)
    explainer = Explainer(model, **ROWS)
    try:
        found = _explained(explainer, PROMPT, ANSWER, method="integrated_gradients", steps=1)
    except UnsupportedModelError as error:
        return ["refused", "", "", ""], _reason(error)
    remarks = [short for said, short in NOTES.items() if any(said in note for note in found.notes)]
    length, remark = _any_length(explainer)
    cells = [
        "step by step" if _is_stepwise(found) else "works",
        length,
        _generated_ids(explainer),
        _training_state(model, found),
    ]
    return cells, "; ".join(filter(None, [*remarks, remark]))


def _explained(
    explainer: Explainer, prompt: Sequence[int], response: Any, **options: Any
) -> Attribution:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return explainer.explain(input_ids=prompt, response_ids=response, **options)


def _reason(error: Exception) -> str:
    (reason,) = [why for said, why in REASONS.items() if re.search(said, str(error))]
    return reason


def _is_stepwise(found: Attribution) -> bool:
    return any("a pass of its own" in note for note in found.notes)


def _any_length(explainer: Explainer) -> tuple[str, str]:
    """Say whether the values of a sequence that crosses every length are those of its prefixes."""
    model: Any = explainer.model
    try:
        found = _longest(explainer)
    except UnsupportedModelError as error:
        if "use_cache = False" not in str(error):
            return "refused", f"of longer passes, {_reason(error)}"
        model.generation_config.use_cache = False
        return _any_length(explainer)[0], "longer passes need `use_cache = False`"
    prompt, response = found.input_ids.tolist(), found.response_ids.tolist()
    before = 1 if model.config.is_encoder_decoder else len(prompt)
    ends = _ends(model, before + len(response))
    places = [end - before for end in ends if 0 <= end - before < len(response)]
    expected = torch.stack([_log_prob(model, prompt, response[: t + 1]) for t in places])
    if not torch.allclose(found.value[places], expected, **TOLERANCE):
        return "no", ""
    return "step by step" if _is_stepwise(found) else "yes", ""


def _longest(explainer: Explainer) -> Attribution:
    """Explain the longest sequence that a model reads, from a short prompt on."""
    for size in LONGEST:
        prompt, response = families.ids(SHORT, seed=5), families.ids(size - SHORT, seed=6)
        with suppress(InputError, IndexError):  # the latter is how some say it themselves
            return _explained(explainer, prompt, response, **QUICK)
    raise AssertionError(f"{type(explainer.model).__name__} reads fewer than {size} tokens")


def _ends(model: Any, size: int) -> list[int]:
    """Return the lengths of prefixes on both sides of what the config names, and both ends."""
    named = {number for number in _integers(model.config.to_dict()) if 1 < number < size}
    return sorted({1, SHORT, size - 1} | {end for n in named for end in (n - 1, n, n + 1)})


def _integers(value: Any) -> Iterator[int]:
    """Yield the whole numbers in a config."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from _integers(one)
    elif type(value) is int:
        yield value


def _log_prob(model: Any, prompt: Sequence[int], response: Sequence[int]) -> torch.Tensor:
    """Return the log-probability of the last token, as ``generate`` computes it from the others.

    The pass is that of a copy: some models change themselves with the length of a pass.
    """
    decoder: dict[str, torch.Tensor] = {}
    read = [*prompt, *response[:-1]]
    if model.config.is_encoder_decoder:
        read = list(prompt)
        decoder["decoder_input_ids"] = torch.tensor([[families.BOS, *response[:-1]]])
    options = {"output_logits": True, "return_dict_in_generate": True}
    written = _generated(copy.deepcopy(model), read, 1, **options, **decoder)
    return written.logits[0][0].log_softmax(-1)[response[-1]]


def _generated(model: Any, ids: Sequence[int], tokens: int, **options: Any) -> Any:
    given = torch.tensor([list(ids)])
    options |= {"attention_mask": torch.ones_like(given), "use_cache": False, "do_sample": False}
    return model.generate(given, max_new_tokens=tokens, **options)


def _generated_ids(explainer: Explainer) -> str:
    """Say whether what ``generate`` returns, as it is, is explained as the answer in it."""
    # Untrained models write their special tokens, which nobody can tell from padding and starts.
    special = [families.PAD, families.BOS, families.EOS]
    written = _generated(explainer.model, PROMPT, 4, suppress_tokens=special)
    whole, answer = (
        _explained(explainer, PROMPT, ids, **QUICK) for ids in (written, written[0, -4:])
    )
    same = torch.equal(whole.response_ids, written[0, -4:])
    return "yes" if same and torch.equal(whole.scores, answer.scores) else "no"


def _drop_out(model: Any) -> None:
    """Let a model drop out in training, wherever it can; tiny ones are made so that they do not."""
    for module in model.modules():
        for name, value in [*vars(module).items()]:
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.3)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.3


def _training_state(model: Any, plain: Attribution) -> str:
    """Say whether scores are the same in training, with hooks that watch, and hold no graph."""
    model.train()
    if model.supports_gradient_checkpointing:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of its name
            model.gradient_checkpointing_enable()
    with suppress(NotImplementedError):
        model.enable_input_require_grads()
    seen: list[Any] = []
    for module in model.modules():
        module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    found = _explained(
        Explainer(model, **ROWS), PROMPT, ANSWER, method="integrated_gradients", steps=1
    )
    same = torch.allclose(found.scores, plain.scores, **TOLERANCE)
    free = not any(tensor.requires_grad for tensor in _tensors(found))
    return "yes" if same and free and seen and model.training else "no"


def _tensors(found: Any) -> Iterator[torch.Tensor]:
    if isinstance(found, torch.Tensor):
        yield found
    elif is_dataclass(found):
        for field in fields(found):
            yield from _tensors(getattr(found, field.name))
    elif isinstance(found, dict | list | tuple):
        for part in found.values() if isinstance(found, dict) else found:
            yield from _tensors(part)


def variant_line(name: str) -> str:
    """Return the line of one way to have a model.

    Args:
        name: one of ``VARIANTS``.
    """
    answer, remark = _loaded(VARIANTS[name].make())
    return f"| {name} | {answer} | {remark} |"


def _loaded(model: Any) -> tuple[str, str]:
    """Return whether a model is explained, and a remark."""
    try:
        explainer = Explainer(model, **ROWS)
        _explained(explainer, PROMPT, ANSWER)
    except (InputError, UnsupportedModelError) as error:
        return "refused", _reason(error)
    try:
        found = _explained(explainer, PROMPT, ANSWER, method="integrated_gradients")
    except UnsupportedModelError as error:
        return "without gradients", _reason(error)
    steps = "rounds activations: path methods do not converge, and say so"
    return "works", "" if found.converged.all() else steps


def chat_line(family: str) -> str:
    """Return the line of one chat template.

    Args:
        family: one of ``TEMPLATES``.
    """
    explainer = _reader_of_chats()
    tokenizer = explainer.tokenizer
    tokenizer.chat_template = TEMPLATES[family]
    equal, said = [], dict.fromkeys(SAID, 0)
    for messages, options in CONVERSATIONS.values():
        begins = {"add_generation_prompt": "continue_final_message" not in options} | options
        try:
            own = tokenizer.apply_chat_template(messages, return_dict=False, **begins)
        except Exception:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = explainer.explain(
                messages, template_options=options, response_ids=[9], movable="all", **QUICK
            )
        equal.append(found.input_ids.tolist() == own)
        for words in said:
            said[words] += any(words in note for note in found.notes)
    refused = len(CONVERSATIONS) - len(equal)
    counts = [str(count or "") for count in (*said.values(), refused)]
    return f"| {' | '.join([family, f'{sum(equal)} of {len(equal)}', *counts])} |"


@cache
def _reader_of_chats() -> Explainer:
    return Explainer(tiny.model("llama", max_position_embeddings=2048), tiny.tokenizer(), **ROWS)


if __name__ == "__main__":
    (ROOT / "docs" / "support.md").write_text(page(), encoding="utf-8")
