"""Models as people load them: with adapters, quantised, spread, beside an image encoder.

Each is a tiny random model; those that need a package are built where it is installed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
import transformers
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from helpers import tiny

#: Quantised layers come in blocks of 32 and more.
_WIDE = {"hidden_size": 64, "head_dim": 16}
_TEXT = {
    "vocab_size": tiny.VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": tiny.PAD,
    "bos_token_id": tiny.BOS,
    "eos_token_id": tiny.EOS,
}
_IMAGES = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


class Variant(NamedTuple):
    """A way to have a model, and the packages that it takes."""

    make: Callable[[], Any]
    packages: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [name for name in self.packages if find_spec(name) is None]


def noisy(model: Any) -> Any:
    """Make weights noisy enough that nothing is nearly linear, trained copies of them included."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for parameter in model.parameters():
            parameter.add_(tiny.NOISE * torch.randn_like(parameter))
    return model.eval()


def _adapted(kind: str, merged: bool = False, family: str = "llama", **options: Any) -> Any:
    import peft

    task = "SEQ_2_SEQ_LM" if family == "t5" else "CAUSAL_LM"
    model = peft.get_peft_model(tiny.model(family), getattr(peft, kind)(task_type=task, **options))
    return noisy(model).merge_and_unload() if merged else noisy(model)


def _lora(*targets: str, **options: Any) -> Variant:
    return Variant(
        lambda: _adapted("LoraConfig", target_modules=list(targets), r=4, **options), ("peft",)
    )


def _torchao(config: str) -> Variant:
    def make() -> Any:
        from torchao import quantization

        model = tiny.model("llama", **_WIDE)
        quantization.quantize_(model, getattr(quantization, config)())
        return model

    return Variant(make, ("torchao",))


def _bitsandbytes(**options: Any) -> Variant:
    def make() -> Any:
        import bitsandbytes as bnb

        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        model = tiny.model("llama", **_WIDE)
        for name, layer in list(model.model.named_modules()):
            if isinstance(layer, torch.nn.Linear):
                kind = bnb.nn.Linear4bit if options else bnb.nn.Linear8bitLt
                more = options or {"has_fp16_weights": False}
                own = kind(layer.in_features, layer.out_features, bias=False, **more)
                own.load_state_dict(layer.state_dict())
                parent, _, last = name.rpartition(".")
                setattr(model.model.get_submodule(parent), last, own)
        return model.to("cpu").eval()

    return Variant(make, ("bitsandbytes",))


def _quanto(**options: Any) -> Variant:
    def make() -> Any:
        from optimum import quanto

        model = tiny.model("llama", **_WIDE)
        quanto.quantize(model.model, **{k: getattr(quanto, v) for k, v in options.items()})
        with quanto.Calibration():
            model(torch.tensor([tiny.ids(9)]))
        quanto.freeze(model)
        return model.eval()

    return Variant(make, ("optimum.quanto",) if find_spec("optimum") else ("optimum",))


def _hqq() -> Any:
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear

    model, config = tiny.model("llama", **_WIDE), BaseQuantizeConfig(nbits=4, group_size=64)
    for name, layer in list(model.model.named_modules()):
        if isinstance(layer, torch.nn.Linear):
            own = HQQLinear(layer, config, compute_dtype=torch.float32, device="cpu")
            parent, _, last = name.rpartition(".")
            setattr(model.model.get_submodule(parent), last, own)
    return model


class _WithoutBackward(torch.autograd.Function):
    """As a fused kernel that was written for generation."""

    @staticmethod
    def forward(context: Any, output: torch.Tensor) -> torch.Tensor:
        return output.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("this kernel has no backward pass")


def _attention_without_backward() -> Any:
    name, usual = "without_backward", ALL_ATTENTION_FUNCTIONS["sdpa"]

    def attention(*arguments: Any, **options: Any) -> tuple[Any, ...]:
        output, *rest = usual(*arguments, **options)
        return _WithoutBackward.apply(output), *rest

    transformers.AttentionInterface.register(name, attention)
    transformers.AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    return tiny.model("llama", attn_implementation=name)


def _reads_images(kind: str, **options: Any) -> Variant:
    def make() -> Any:
        config = getattr(transformers, f"{kind}Config")(**options)
        return noisy(getattr(transformers, f"{kind}ForConditionalGeneration")(config))

    return Variant(make)


def _pair() -> Any:
    own = {key: _TEXT[key] for key in ("vocab_size", "hidden_size", "intermediate_size")}
    own |= {"num_hidden_layers": 1, "num_attention_heads": 2}
    encoder = transformers.BertConfig(**own)
    decoder = transformers.BertConfig(**own, is_decoder=True, add_cross_attention=True)
    both = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    model = noisy(transformers.EncoderDecoderModel(both))
    model.generation_config.decoder_start_token_id = tiny.BOS
    return model


def _no_text(kind: str, encoder: Any) -> Variant:
    def make() -> Any:
        decoder = transformers.GPT2Config(
            vocab_size=tiny.VOCABULARY, n_embd=32, n_layer=1, n_head=2, bos_token_id=1,
            eos_token_id=2, is_decoder=True, add_cross_attention=True,
        )  # fmt: skip
        config = getattr(transformers, f"{kind}Config")
        return getattr(transformers, f"{kind}Model")(
            config.from_encoder_decoder_configs(encoder, decoder)
        )

    return Variant(make)


def _compiled_in_place() -> Any:
    model = tiny.model("llama")
    model.compile(backend="eager", dynamic=True)
    return model


_SOUND = {"conv_dim": (32,), "conv_kernel": (3,), "conv_stride": (2,)} | {
    key: _IMAGES[key]
    for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
}
_MERGED = {"merged": True, "target_modules": ["q_proj", "v_proj"]}

VARIANTS: dict[str, Variant] = {
    "PEFT: LoRA": _lora("q_proj", "v_proj"),
    "PEFT: LoRA, merged": Variant(lambda: _adapted("LoraConfig", **_MERGED), ("peft",)),
    "PEFT: LoRA on the embedding": _lora("embed_tokens", "q_proj"),
    "PEFT: LoRA, embedding and head trained (`modules_to_save`)": _lora(
        "q_proj", modules_to_save=["embed_tokens", "lm_head"]
    ),
    "PEFT: LoRA, some tokens trained": _lora("q_proj", trainable_token_indices=[5, 6, 7]),
    "PEFT: DoRA": _lora("q_proj", use_dora=True),
    "PEFT: prefix tuning": Variant(
        lambda: _adapted("PrefixTuningConfig", num_virtual_tokens=4), ("peft",)
    ),
    "PEFT: prompt tuning": Variant(
        lambda: _adapted("PromptTuningConfig", num_virtual_tokens=4), ("peft",)
    ),
    "bitsandbytes: 8 bits": _bitsandbytes(),
    "bitsandbytes: 4 bits": _bitsandbytes(compute_dtype=torch.float32, quant_type="nf4"),
    "torchao: int8, weights alone": _torchao("Int8WeightOnlyConfig"),
    "torchao: int4, weights alone": _torchao("Int4WeightOnlyConfig"),
    "optimum-quanto: int8, weights alone": _quanto(weights="qint8"),
    "optimum-quanto: int8, activations too": _quanto(weights="qint8", activations="qint8"),
    "HQQ: 4 bits": Variant(_hqq, ("hqq",)),
    "an attention kernel without a backward pass": Variant(_attention_without_backward),
    "LLaVA": _reads_images(
        "Llava",
        text_config=transformers.LlamaConfig(**_TEXT),
        vision_config=transformers.CLIPVisionConfig(**_IMAGES),
        image_token_index=300,
    ),
    "Qwen2-VL": _reads_images(
        "Qwen2VL",
        text_config=_TEXT | {"rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}},
        vision_config={"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2},
        image_token_id=300,
        video_token_id=301,
        vision_start_token_id=302,
        vision_end_token_id=303,
    ),
    "Gemma 3, with images": _reads_images(
        "Gemma3",
        text_config=_TEXT | {"head_dim": 8, "sliding_window": 8},
        vision_config=_IMAGES,
        image_token_id=300,
        boi_token_index=301,
        eoi_token_index=302,
        mm_tokens_per_image=4,
    ),
    "Idefics 3": _reads_images(
        "Idefics3",
        text_config=transformers.LlamaConfig(**_TEXT),
        vision_config=_IMAGES,
        image_token_id=300,
        pad_token_id=tiny.PAD,
    ),
    "EncoderDecoderModel": Variant(_pair),
    "VisionEncoderDecoderModel": _no_text(
        "VisionEncoderDecoder", transformers.ViTConfig(**_IMAGES)
    ),
    "SpeechEncoderDecoderModel": _no_text(
        "SpeechEncoderDecoder", transformers.Wav2Vec2Config(**_SOUND)
    ),
    "compiled as a whole (`torch.compile(model)`)": Variant(
        lambda: torch.compile(tiny.model("llama"), backend="eager", dynamic=True)
    ),
    "compiled in place (`model.compile()`)": Variant(_compiled_in_place),
}
