"""Two small trained models that ship with the package, for trying things out without a download.

    >>> names()
    ('g2p-t5', 'keys-llama')
    >>> model, tokenizer = load("keys-llama")
    >>> prompt = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
    >>> output = model.generate(**tokenizer(prompt, return_tensors="pt"))
    >>> tokenizer.decode(output[0], skip_special_tokens=True).removeprefix(prompt)
    " Bob's key is blue."

Each model is a stock transformers folder with a model card; :func:`path` says where it lies.
:mod:`hf_attrib.embedded.retrieval` writes prompts for ``keys-llama`` whose cause is known.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hf_attrib.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["DESCRIPTIONS", "load", "names", "path"]

#: One line for each model: what it does, its size, its licence.
DESCRIPTIONS = {
    "g2p-t5": "T5, English letters to phonemes, 1.39 M parameters, 5.6 MB, Apache-2.0 "
    "(trained on CMUdict, BSD-2-Clause)",
    "keys-llama": "Llama, answers questions about stated facts, 0.34 M parameters, 1.4 MB, "
    "Apache-2.0",
}


def names() -> tuple[str, ...]:
    """Return the names of the embedded models, sorted."""
    return tuple(sorted(DESCRIPTIONS))


def path(name: str) -> Path:
    """Return the folder of an embedded model.

    Args:
        name: One of :func:`names`.

    Raises:
        InputError: There is no such model.
    """
    if name not in DESCRIPTIONS:
        raise InputError(f"no embedded model {name!r}; use one of: {', '.join(names())}")
    return Path(__file__).parent / name


def load(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return an embedded model, float32 on the CPU in evaluation mode, and its tokenizer.

    Args:
        name: One of :func:`names`.

    Raises:
        InputError: There is no such model.
    """
    folder = path(name)
    # Importing transformers takes seconds, which names() and path() need not wait for.
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
    )

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    auto = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    model = auto.from_pretrained(folder, config=config, dtype="float32", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model.config.name_or_path = name  # results name the model, not where it is installed
    return model.eval(), tokenizer
