"""A tiny random model of every family that transformers can generate text with.

The sizes of a family are found by the names of its config's fields; what does not fit is in the
table of exceptions below. Layer types are mixed, and windows are shorter than the prompts of the
tests, so that sliding, linear, convolutional and sparse layers all do something.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    GenerationConfig,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

__all__ = [
    "ALL",
    "DECODERS",
    "NOT_BUILT",
    "OTHER_WITH_CACHE",
    "VOCABULARY",
    "build",
    "ids",
    "tokenizer",
]

# Cores are shared, and models this small only lose time to a second thread.
torch.set_num_threads(1)

VOCABULARY = 128
PAD, BOS, EOS = 0, 1, 2

#: Encoders and decoders of EncoderDecoderModel, besides the pair of BERTs of the mapping.
PAIRS = ("bert:gpt2", "roberta:roberta", "bert-generation:bert-generation")

#: Their cache is not what one pass over all tokens computes, which transformers may mend.
OTHER_WITH_CACHE = ("causal/blt", "causal/moshi")

#: Families without a model that reads text and nothing else.
NOT_BUILT = {
    "causal/gemma3n": "its vision tower needs the package timm; gemma3n_text is in the table",
    "causal/gemma4_assistant": "a drafter that reads the states of another model",
    "causal/gemma4_unified_assistant": "a drafter that reads the states of another model",
    "causal/musicgen": "writes audio codes and has no text to embed",
    "causal/musicgen_melody": "writes audio codes and has no text to embed",
}

#: Families that must generate without a cache of keys and values to be explained.
UNCACHED = ("prophetnet",)

#: Every family, as kind/model type; decoder-only and encoder-decoder variants are two.
ALL = tuple(
    name
    for kind, types in (
        ("causal", MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        ("seq2seq", MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
        ("pair", PAIRS),
    )
    for name in sorted(f"{kind}/{family}" for family in types)
)

#: What a field is set to, by its name, if its family sets it at all.
_SIZES: tuple[tuple[Any, str], ...] = (
    (VOCABULARY, "vocab_size vocab_size_per_layer_input src_vocab_size tgt_vocab_size"),
    (32, "hidden_size d_model n_embd emb_dim dim embed_dim embedding_size word_embed_proj_dim"),
    (
        32,
        "attention_hidden_size mamba_hidden_size adapter_in_dim adapter_out_dim audio_hidden_size",
    ),
    (2, "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers"),
    (2, "num_decoder_layers num_encoder_layers num_blocks depth"),
    (4, "num_attention_heads n_head n_heads num_heads encoder_attention_heads"),
    (4, "decoder_attention_heads num_encoder_attention_heads num_decoder_attention_heads"),
    (2, "num_key_value_heads num_kv_heads linear_num_key_heads"),
    (8, "head_dim d_kv global_head_dim qk_head_dim v_head_dim swa_head_dim swa_v_head_dim"),
    (8, "linear_key_head_dim linear_value_head_dim mamba_head_dim mamba_headdim mamba_d_head"),
    (4, "qk_rope_head_dim qk_nope_head_dim linear_num_value_heads"),
    (16, "kv_lora_rank q_lora_rank o_lora_rank hidden_size_per_layer_input laurel_rank"),
    (64, "intermediate_size d_ff ffn_dim encoder_ffn_dim decoder_ffn_dim ffn_hidden_size d_inner"),
    (64, "inner_dim dense_intermediate_size shared_intermediate_size dim_ff intermediate_size_mlp"),
    (64, "moe_shared_expert_intermediate_size"),
    (16, "moe_intermediate_size shared_expert_intermediate_size expert_intermediate_size"),
    (16, "expert_ffn_hidden_size ssm_state_size state_size mamba_d_state time_step_rank"),
    (16, "mamba_dt_rank mamba_state_size"),
    (4, "num_experts num_local_experts n_routed_experts moe_num_experts num_routed_experts"),
    (2, "num_experts_per_tok moe_k moe_topk top_k_experts num_experts_per_token moe_top_k"),
    (1, "n_shared_experts moe_num_shared_experts num_shared_experts n_group topk_group"),
    (1, "mamba_n_groups n_groups mamba_ngroups first_k_dense_replace"),
    (128, "max_position_embeddings n_positions n_ctx max_seq_len max_source_positions"),
    (128, "max_encoder_position_embeddings max_decoder_position_embeddings seq_length"),
    (128, "max_target_positions max_sequence_length original_max_position_embeddings"),
    (8, "sliding_window local_window_size window_size attention_window_size chunk_size"),
    (8, "attention_chunk_size sliding_window_size mamba_chunk_size"),
    (PAD, "pad_token_id"),
    (BOS, "bos_token_id decoder_start_token_id"),
    (EOS, "eos_token_id sep_token_id"),
)
_SIZE = {name: value for value, names in _SIZES for name in names.split()}

#: Fields that stay unset where a family does not set them: they switch a feature on.
_OPTIONAL = {"head_dim", "num_key_value_heads", "num_kv_heads", "d_inner", "inner_dim"}
_OPTIONAL |= {"q_lora_rank", "sliding_window", "pad_token_id", "bos_token_id", "eos_token_id"}
_OPTIONAL |= {"decoder_start_token_id", "sep_token_id"}

#: Encoders by default, which generate text once their config says that they are decoders.
DECODERS = {"bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra"}
DECODERS |= {"ernie", "megatron-bert", "reformer", "rembert", "roberta"}
DECODERS |= {
    "roberta-prelayernorm",
    "roc_bert",
    "roformer",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}

_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_MIXED_GEMMA = {
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_kv_shared_layers": 2,
}

#: What the field names do not tell. ``None`` leaves a field at its default.
_EXCEPTIONS: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 8, "attn_layer_indices": [1], "num_hidden_layers": 3},
    "big_bird": {"block_size": 4, "num_random_blocks": 1},
    "bigbird_pegasus": {"block_size": 4, "num_random_blocks": 1},
    "blt": {
        "encoder_hash_byte_group_vocab": 64,
        "encoder_hash_byte_group_size": [3, 4],
        "local_attention_window_len": 16,
        "patch_size": 4,
    },
    "blt_global_transformer": {"hidden_size": 64},
    "blt_local_decoder": {"hidden_size_global": 64},
    "blt_local_encoder": {"hidden_size_global": 64},
    "codegen": {"rotary_dim": 4},
    "cohere_compass_text": {
        "layer_types": ["full_attention", "sliding_attention"],
        "num_key_value_heads": 2,
        "rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE},
    },
    "cpmant": {"dim_head": 8, "prompt_length": 4, "prompt_types": 4, "segment_types": 4},
    "ctrl": {"dff": 64},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {
            "ffn_hidden_size": 32,
            "moe_num_experts": 4,
            "moe_top_k": 2,
            "hidden_size": 32,
        },
    },
    "dots3_note_audio_encoder": {"adapter_input_size": 32, "downsample_hidden_size": 8},
    "dots3_note_text": {
        "moe_shared_expert_intermediate_size": 16,
        "sliding_window_size": 8,
        "swa_head_dim": 8,
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 4,
        "swa_q_lora_rank": 16,
        "swa_kv_lora_rank": 16,
        "swa_qk_nope_head_dim": 4,
        "swa_v_head_dim": 8,
    },
    "dots3_note_vision_encoder": {"mlp_layer_types": ["dense", "sparse"]},
    "fsmt": {"langs": ["en", "de"]},
    "gemma3n_text": _MIXED_GEMMA
    | {
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
        "laurel_rank": 8,
        "altup_num_inputs": 3,
    },
    "gemma4_text": _MIXED_GEMMA | {"num_global_key_value_heads": 2, "global_head_dim": 8},
    "gemma4_unified_text": {"num_global_key_value_heads": 2, "global_head_dim": 8},
    "gemma4_unified_vision": {"mm_embed_dim": 32, "output_proj_dims": 32, "mm_posemb_size": 16},
    "gpt_bigcode": {"n_inner": 64},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 6},
    "gptj": {"rotary_dim": 4},
    "granite_speech_encoder": {"hidden_dim": 32},
    "granite_speech_plus_encoder": {"hidden_dim": 32},
    "granitemoehybrid": {
        "mamba_n_heads": 8,
        "layer_types": ["linear_attention", "full_attention"],
        "position_embedding_type": "rope",
    },
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4},
    "kimi_linear": {
        "linear_head_dim": 8,
        "linear_num_heads": 4,
        "linear_conv_kernel_dim": 4,
        "num_hidden_layers": 3,
        "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    },
    "led": {"attention_window": 8},
    "lfm2_moe": {
        "layer_types": ["conv", "full_attention", "conv"],
        "num_hidden_layers": 3,
        "num_dense_layers": 1,
    },
    "llama4_text": {
        "num_hidden_layers": 4,
        "layer_types": ["chunked_attention"] * 3 + ["full_attention"],
        "no_rope_layers": [1, 1, 1, 0],
        "interleave_moe_layer_step": 2,
        "intermediate_size": 32,
        "num_experts_per_tok": 1,
    },
    "longcat_flash": {"num_key_value_heads": 4, "head_dim": 4, "zero_expert_num": 2},
    "longt5": {"local_radius": 3, "global_block_size": 4},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 2},
    "minimax": {"block_size": 8},
    "ministral": {"head_dim": 8},
    "modernbert-decoder": {"local_attention": 8},
    "moshi": {"audio_vocab_size": 16},
    "nemotron": {"num_key_value_heads": 2, "head_dim": 8},
    "nllb-moe": {"encoder_sparse_step": 2, "decoder_sparse_step": 2},
    "pegasus_x": {"block_size": 4, "num_global_tokens": 3},
    "prophetnet": {"ngram": 2, "num_buckets": 8, "relative_max_distance": 16},
    "qwen4_exp_text": {
        "pad_token_id": PAD,
        "eos_token_id": EOS,
        "num_hidden_layers": 3,
        "layer_types": ["linear_attention", "indexed_attention", "linear_attention"],
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 4,
        "ple_layer_ids": [1],
        "ple_embed_dim": 32,
        "heads_per_ngram": 2,
        "ngram_vocab_size_base": 64,
        "split_ngram_parts": 1,
        "make_ngram_vocab_size_divisible_by": 8,
        "hc_lowrank": 8,
    },
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "lru_width": 32},
    "reformer": {
        "axial_pos_shape": [8, 16],
        "axial_pos_embds_dim": [8, 24],
        "attn_layers": ["local", "lsh"],
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
        "num_buckets": 2,
        "feed_forward_size": 64,
        "attention_head_size": 8,
        "hash_seed": 0,
    },
    "roc_bert": {"shape_embed_dim": 16, "pronunciation_embed_dim": 16},
    "rwkv": {"context_length": 64},
    "smollm3": {"num_hidden_layers": 4},
    "switch_transformers": {
        "num_layers": 2,
        "num_sparse_encoder_layers": 1,
        "num_sparse_decoder_layers": 1,
    },
    "vibevoice_acoustic_tokenizer_encoder": {
        "num_filters": 4,
        "downsampling_ratios": [2, 2],
        "depths": [1, 1, 1],
    },
    "xlm": {"n_langs": 1},
    "xlnet": {"d_head": 8},
    "xlstm": {"embedding_dim": 64, "hidden_size": 64, "qk_dim_factor": 1.0, "v_dim_factor": 1.0},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "zamba": {
        "num_hidden_layers": 6,
        "layers_block_type": ["linear_attention", "linear_attention", "hybrid"] * 2,
        "layer_types": None,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "n_mamba_heads": 2,
        "mamba_dt_rank": 4,
        "num_key_value_heads": 4,
    },
    "zamba2": {
        "num_hidden_layers": 3,
        "layers_block_type": ["mamba", "hybrid", "mamba"],
        "layer_types": None,
        "hybrid_layer_ids": [1],
        "n_mamba_heads": 8,
        "num_mem_blocks": 1,
        "attention_head_dim": 16,
        "num_key_value_heads": 4,
    },
    "zaya": {"num_experts_per_tok": 1},
}

#: Noise on every weight: no path is dead, and what a tiny model computes is far from linear.
_SPREAD = 0.06


def build(name: str) -> Any:
    """Return a tiny random model in evaluation mode; random states are left alone.

    Args:
        name: one of :data:`ALL`, such as ``"causal/llama"``.
    """
    kind, family = name.split("/")
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = _model(kind, family)
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.add_(_SPREAD * torch.randn_like(parameter))
        for place, table in model.named_buffers():
            if place.endswith("tid2eid"):  # DeepSeek-V4's experts by token id, all 0 until loaded
                table.random_(_SIZE["n_routed_experts"])
    random.setstate(states[0])
    np.random.set_state(states[1])
    # Made anew: families bring forced tokens, lengths and penalties of their own.
    model.generation_config = GenerationConfig(
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        decoder_start_token_id=BOS if model.config.is_encoder_decoder else None,
        use_cache=family not in UNCACHED,
    )
    return model.eval()


def ids(length: int, seed: int) -> list[int]:
    """Return random token ids, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, VOCABULARY, (length,), generator=generator).tolist()


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a tokenizer that reads ``w5 w17`` as the ids 5 and 17."""
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words)


def _model(kind: str, family: str) -> Any:
    if kind == "pair":
        return _pair(*family.split(":"))
    if family == "encoder-decoder":
        return _pair("bert", "bert")
    config = _config(family)
    if kind == "causal" and family in DECODERS:
        config.is_decoder = True
    return (AutoModelForCausalLM if kind == "causal" else AutoModelForSeq2SeqLM).from_config(config)


def _pair(encoder: str, decoder: str) -> Any:
    config = EncoderDecoderConfig.from_encoder_decoder_configs(_config(encoder), _config(decoder))
    config.decoder_start_token_id, config.pad_token_id = BOS, PAD
    return EncoderDecoderModel(config)


def _config(family: str) -> Any:
    return CONFIG_MAPPING[family](**_fields(CONFIG_MAPPING[family], {}))


def _fields(kind: Any, changed: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a class of configs that make a tiny model.

    Args:
        kind: the class.
        changed: defaults that differ where it is part of another config.
    """
    defaults = {field.name: _default(field) for field in dataclasses.fields(kind)} | changed
    tiny = {name: _tiny(name, default) for name, default in defaults.items()}
    found = {name: value for name, value in tiny.items() if value is not None}
    if defaults.get("num_key_value_heads") == defaults.get("num_attention_heads") is not None:
        found["num_key_value_heads"] = found["num_attention_heads"]
    for name, part in kind.sub_configs_defaults.items():
        known = part.model_type in CONFIG_MAPPING
        inner = CONFIG_MAPPING[part.model_type] if known else part.config_class
        found[name] = _fields(inner, part.init_kwargs) | {"model_type": part.model_type}
    if "layer_types" in defaults:
        found |= _every_layer_type(kind, found.get("num_hidden_layers", 2))
    exceptions = _EXCEPTIONS.get(kind.model_type, {})
    found = {name: value for name, value in found.items() if exceptions.get(name, 0) is not None}
    return found | {name: value for name, value in exceptions.items() if value is not None}


def _default(field: Any) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _tiny(name: str, default: Any) -> Any:
    """Return a small value of a field, or ``None`` to leave it as it is."""
    if name in _SIZE:
        optional = default is None and name in _OPTIONAL
        if optional or isinstance(default, bool | list | tuple | dict):
            return None
        return float(_SIZE[name]) if isinstance(default, float) else _SIZE[name]
    if "drop" in name and isinstance(default, float):
        return 0.0
    beyond = isinstance(default, int) and default >= VOCABULARY
    return 3 if name.endswith("_token_id") and beyond else None


def _every_layer_type(kind: Any, layers: int) -> dict[str, Any]:
    """Return the fields that give a model at least one layer of each type it knows."""
    types = list(dict.fromkeys(kind().layer_types or []))
    if len(types) < 2:
        return {}
    layers = max(layers, len(types))
    return {"num_hidden_layers": layers, "layer_types": (types * layers)[:layers]}
