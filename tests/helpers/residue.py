"""Everything that a call could disturb, and whether it has."""

import copy
import random

import numpy as np
import torch

from helpers import tiny


def state(model, tokenizer):
    """Everything about a model, its tokenizer and the process that a call could disturb."""
    modules = list(model.modules())
    return {
        "weights": {n: p.detach().clone() for n, p in model.state_dict().items()},
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "grad": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "training": [m.training for m in modules],
        "hooks": [
            [len(h) for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)]
            for m in modules
        ],
        "config": copy.deepcopy(model.config.to_dict()),
        "generation": copy.deepcopy(model.generation_config.to_dict()),
        "attributes": sorted(vars(model)),
        "tokenizer": copy.deepcopy(tokenizer.init_kwargs) | {"side": tokenizer.padding_side},
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),
        "python": random.getstate(),
        "grad_mode": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
    }


def assert_same(before, after):
    assert before.keys() == after.keys()
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=0, atol=0, msg=name) if isinstance(
            value, torch.Tensor
        ) else np.testing.assert_equal(_plain(after[name]), _plain(value), err_msg=name)


def _plain(value):
    """Tensors to arrays, all the way down, since numpy compares those."""
    if isinstance(value, torch.Tensor):
        return value.numpy()
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def prepared(family):
    """A model in an unusual state: half trainable, half in training mode, with gradients."""
    model = tiny.model(family)
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(i % 2 == 0)
        if i % 4 == 0:
            parameter.grad = torch.ones_like(parameter)
    next(iter(model.children())).train()
    return model, tiny.tokenizer(model.config.is_encoder_decoder)
