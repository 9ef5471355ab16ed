"""A robustness result of a tiny model."""

from helpers import tiny
from hf_attrib import Explainer


def attacked(model, batch_size=None, **options):
    tokenizer = tiny.tokenizer(model.config.is_encoder_decoder)
    given = {"prompt": "the key is red", "bisections": 3, "steps": 4}
    given |= {} if "response_ids" in options else {"max_new_tokens": 4}
    return Explainer(model, tokenizer, batch_size=batch_size).robustness(**given | options)
