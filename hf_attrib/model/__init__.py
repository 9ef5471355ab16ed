"""All that touches a transformers model: embeddings replaced by hooks, forward passes, generation.

A model is checked once for silent faults and left as it was found. The field of a model answers to
what :mod:`hf_attrib.field` asks; this folder knows text, but no method and no result.
"""

from hf_attrib.model.batch import Batch, collate
from hf_attrib.model.devices import device_of
from hf_attrib.model.embedding_field import EmbeddingField
from hf_attrib.model.fork import Fork, forked
from hf_attrib.model.generation import Transcriber
from hf_attrib.model.isolation import isolated
from hf_attrib.model.loading import DTYPES, check_device, load_model, name_of
from hf_attrib.model.observation import Observation
from hf_attrib.model.prefix_check import Departure, PrefixCheck
from hf_attrib.model.self_check import Verdict, check_generation, check_generative, check_model
from hf_attrib.model.sites import sites_of, vocabulary
from hf_attrib.model.space import space_of, tables_of
from hf_attrib.model.special import ordinary_ids
from hf_attrib.model.state import state_restored
from hf_attrib.model.stepwise import StepwiseField
from hf_attrib.model.watch import Watch

__all__ = [
    "DTYPES",
    "Batch",
    "Departure",
    "EmbeddingField",
    "Fork",
    "Observation",
    "PrefixCheck",
    "StepwiseField",
    "Transcriber",
    "Verdict",
    "Watch",
    "check_device",
    "check_generation",
    "check_generative",
    "check_model",
    "collate",
    "device_of",
    "forked",
    "isolated",
    "load_model",
    "name_of",
    "ordinary_ids",
    "sites_of",
    "space_of",
    "state_restored",
    "tables_of",
    "vocabulary",
]
