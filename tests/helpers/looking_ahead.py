"""A model that looks ahead."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from helpers import tiny


def bert(is_decoder):
    config = AutoConfig.for_model(
        "bert",
        vocab_size=tiny.VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        is_decoder=is_decoder,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def looking_ahead():
    model = bert(is_decoder=False)
    model.generation_config.use_cache = False
    return model
