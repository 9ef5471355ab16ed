"""How generation chose an answer, and what that says of the probabilities that are explained.

Explained is the model's own distribution, read in one pass. ``generate`` may draw from another one
(processors, beams, sampling), or run something else altogether (an assistant, a function of the
caller's), so a result says which arguments chose its answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Any

__all__ = ["REWRITING", "SHAPING", "UNSHAPING", "choice_of", "read_by_forward", "said"]

#: Arguments that change which tokens are chosen, with the values at which they do not.
SHAPING: Mapping[str, tuple[Any, ...]] = {
    "assistant_ensemble_weight": (0, 1),
    "bad_words_ids": (),
    "begin_suppress_tokens": (),
    "constraints": (),
    "custom_generate": (),
    "diversity_penalty": (0,),
    "dola_layers": (),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1,),
    "exponential_decay_length_penalty": (),
    "force_words_ids": (),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "guidance_scale": (1,),
    "logits_processor": (),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "no_repeat_ngram_size": (0,),
    "num_beam_groups": (1,),
    "num_beams": (1,),
    "penalty_alpha": (0,),
    "prefix_allowed_tokens_fn": (),
    "repetition_penalty": (1,),
    "sequence_bias": (),
    "suppress_tokens": (),
    "watermarking_config": (),
}
#: Those that do so only where tokens are drawn.
_DRAWING: Mapping[str, tuple[Any, ...]] = {
    "epsilon_cutoff": (0,),
    "eta_cutoff": (0,),
    "min_p": (0,),
    "temperature": (1,),
    "top_h": (1,),
    "top_k": (0,),
    "top_p": (1,),
    "typical_p": (1,),
}
#: Arguments that leave the model's distribution: of lengths, of outputs, of how it is computed.
UNSHAPING = frozenset(
    [
        "assistant_confidence_threshold",
        "assistant_early_exit",
        "assistant_lookbehind",
        "assistant_model",
        "assistant_tokenizer",
        "bos_token_id",
        "cache_config",
        "cache_implementation",
        "compile_config",
        "continuous_batching_config",
        "decoder_start_token_id",
        "disable_compile",
        "do_sample",
        "early_stopping",
        "eos_token_id",
        "generation_config",
        "is_assistant",
        "length_penalty",
        "low_memory",
        "max_cache_len",
        "max_length",
        "max_matching_ngram_size",
        "max_new_tokens",
        "max_time",
        "negative_prompt_attention_mask",
        "negative_prompt_ids",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "num_return_sequences",
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "output_scores",
        "pad_token_id",
        "prefill_chunk_size",
        "prompt_lookup_num_tokens",
        "remove_invalid_values",
        "renormalize_logits",
        "return_dict_in_generate",
        "speculation_type",
        "stop_strings",
        "stopping_criteria",
        "streamer",
        "synced_gpus",
        "target_lookbehind",
        "tokenizer",
        "use_cache",
        "use_mtp",
    ]
) | set(_DRAWING)
#: Arguments that put other tokens in the place of the prompt's.
REWRITING = ("token_healing", "custom_generate")


def said(name: str, arguments: Mapping[str, Any], model: Any) -> Any:
    """Return what generation goes by: the call's argument, its config's, or the model's own.

    Args:
        name: of an argument of ``generate``.
        arguments: of the call.
        model: whose config counts last.
    """
    value = arguments.get(name)
    for config in (arguments.get("generation_config"), model.generation_config):
        value = getattr(config, name, None) if value is None else value
    return value


def choice_of(arguments: Mapping[str, Any], model: Any) -> tuple[tuple[str, ...], str | None]:
    """Say what the probabilities of a generated answer are, where that is not plain.

    Args:
        arguments: of ``generate``.
        model: what generated.

    Returns:
        notes; and what to say of tokens that are not the model's likeliest, where generation took
        the likeliest each time.
    """
    drawn = bool(said("do_sample", arguments, model))
    shaping = {
        name: value
        for name, neutral in ({**SHAPING, **_DRAWING} if drawn else SHAPING).items()
        if _shapes(value := _effective(name, arguments, model), neutral)
    }
    if shaping:
        named = ", ".join(_shown(name, value) for name, value in shaping.items())
        return (
            f"The answer was chosen under {named}; probabilities and scores are the model's own, "
            "without them.",
        ), None
    if drawn:
        return (), None
    given = ", ".join(sorted(set(arguments) - {"max_new_tokens", "max_length"}))
    cause = given or "something that the model does in generation only"
    return (), (
        "not the model's likeliest where they stand, though generation took the likeliest each "
        f"time: {cause} may have made it run something else than what is explained"
    )


def _effective(name: str, arguments: Mapping[str, Any], model: Any) -> Any:
    value = said(name, arguments, model)
    return _defaults().get(name) if value is None else value


@cache
def _defaults() -> Mapping[str, Any]:
    """Return what transformers takes where nothing is said, such as its ``top_k``."""
    from transformers import GenerationConfig

    found: Any = getattr(GenerationConfig, "_get_default_generation_params", dict)()
    return {name: found[name] for name in _DRAWING if name in found} or {"top_k": 50}


def _shapes(value: Any, neutral: tuple[Any, ...]) -> bool:
    if value is None or value is False:
        return False
    if isinstance(value, int | float):
        return value not in neutral
    return not hasattr(value, "__len__") or len(value) > 0


def _shown(name: str, value: Any) -> str:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{name}={value:g}" if plain else name


def read_by_forward(model: Any) -> set[str]:
    """Return arguments that ``generate`` would hand on to the model as input of its own."""
    forward = set(inspect.signature(model.forward).parameters)
    known = {name for name in forward if hasattr(model.generation_config, name)}
    return forward - known | {"encoder_outputs", "inputs", "past_key_values"}
