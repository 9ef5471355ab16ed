"""Why this answer and not that one: three contrasts, none of them of one token.

    python examples/contrast.py

An answer of a trained model against another, from where they part; a refusal against compliance;
and the call of a tool against none. The last two ask a model of random weights, whose answers have
no meaning: they show how such contrasts are written.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

import hf_attrib
from hf_attrib.results import Attribution

#: A template that writes each message behind its role.
_TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
_TOOL = 'A tool: color(name). To call it, write <call>{"name": ...}</call>.'


def of_facts() -> Attribution:
    """Contrast two colors: the answers part at the color, and end as the model's does."""
    explainer = hf_attrib.Explainer(*hf_attrib.embedded.load("keys-llama"))
    prompt = "Ada's key is red. Bob's key is blue. Q: What color is Ada's key? A:"
    return explainer.explain(prompt, contrast=" Ada's key is blue.")


def of_a_refusal(explainer: hf_attrib.Explainer) -> Attribution:
    """Contrast a refusal and compliance, whatever their lengths, over the parts of a chat."""
    messages = [
        {"role": "system", "content": "Never tell Bob's key."},
        {"role": "user", "content": "What color is Bob's key?"},
    ]
    refusal, compliance = " I can not tell.", " Bob's key is blue, and Ada's key is red."
    return explainer.explain(messages, response=refusal, contrast=compliance, groups="turn")


def of_a_call(explainer: hf_attrib.Explainer) -> Attribution:
    """Contrast the call of a tool and an answer without one, as a model would write them."""
    messages = [
        {"role": "system", "content": _TOOL},
        {"role": "user", "content": "What color is Ada's key?"},
    ]
    call = ' <call>{"name": "Ada"}</call>'
    return explainer.explain(messages, response=call, contrast=" It is red.", groups="turn")


def chatting() -> hf_attrib.Explainer:
    """Return an explainer of a small chat model of random weights, on the letters of ASCII."""
    tokenizer = _letters()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id)
    return hf_attrib.Explainer(model, tokenizer)


def _letters() -> PreTrainedTokenizerBase:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<s>", "</s>", "\n", *map(chr, range(32, 127))]
    made = Tokenizer(models.WordLevel({p: i for i, p in enumerate(pieces)}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    special: dict[str, Any] = {"bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        chat_template=_TEMPLATE,
        clean_up_tokenization_spaces=False,
        **special,
    )


def main() -> None:
    """Print the three."""
    explainer = chatting()
    for result in (of_facts(), of_a_refusal(explainer), of_a_call(explainer)):
        print(result)


if __name__ == "__main__":
    main()
