"""How many tokens a model has positions for, in its encoder and its decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

__all__ = ["positions", "trained_positions"]

#: What configs call the most positions of any side, the usual name first.
_MOST = ("max_position_embeddings", "max_target_positions", "max_seq_len")


def positions(model: Any, side: str = "decoder") -> int:
    """Return how many positions a model has, or 0 if it sets no limit.

    Args:
        model: the model.
        side: ``"encoder"`` or ``"decoder"``.
    """
    if _scaled(model):
        return 0
    return max(0, trained_positions(model, side) - _unused(model, side))


def trained_positions(model: Any, side: str = "decoder") -> int:
    """Return for how many positions a model was made, or 0 if its config does not say.

    Args:
        model: the model.
        side: ``"encoder"`` or ``"decoder"``.
    """
    config = getattr(model.config, side, None)  # of a pair of models
    if not hasattr(config, "model_type"):
        config = model.config.get_text_config()
    names = (f"max_{side}_position_embeddings", *_MOST)
    named = (getattr(config, name, None) for name in names)
    return max(0, int(next((limit for limit in named if limit), 0)))  # XLNet says -1


def _unused(model: Any, side: str) -> int:
    """Return how many rows of the table of positions no token is ever given."""
    if getattr(model.config, "ngram", None) and side == "decoder":
        # ProphetNet counts from behind its padding, and predicts at the position after each.
        return int(model.config.pad_token_id) + 2
    part = getattr(model, side, None)
    if not isinstance(part, nn.Module) or not hasattr(model.config, side):
        return 0
    # Halves of a pair get no positions, and count from behind the padding as RoBERTa does.
    tables = (m for name, m in part.named_modules() if name.endswith("position_embeddings"))
    behind = (getattr(table, "padding_idx", None) for table in tables)
    return next((padding + 1 for padding in behind if padding is not None), 0)


def _scaled(model: Any) -> bool:
    """Whether rotary positions are scaled, so that a model reads on behind those it was made for.

    What such a config calls the most positions is as often the number before scaling.
    """
    config = model.config.get_text_config()
    ropes = [getattr(config, name, None) for name in ("rope_parameters", "rope_scaling")]
    # Models with several kinds of layers have one for each kind.
    found = [r for rope in ropes if isinstance(rope, Mapping) for r in (rope, *rope.values())]
    kinds = [r.get("rope_type", r.get("type")) for r in found if isinstance(r, Mapping)]
    return any(kind not in (None, "default") for kind in kinds)
