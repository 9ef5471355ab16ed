"""Tests run offline, on one thread, and start from a fixed seed, those of random text too."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from helpers import tiny
from helpers.looking_ahead import looking_ahead as made_looking_ahead
from hypothesis import settings

import hf_attrib

#: Not looked through for doctests, as modules of the same name would be taken for one.
collect_ignore_glob = ["*conftest.py"]


# The same examples in every run, however slow the machine.
settings.register_profile("tests", derandomize=True, deadline=None, database=None)
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def _one_thread_and_seed():
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _shared_models_of_a_file():
    yield
    tiny.forget_shared()


@pytest.fixture(scope="session")
def keys():
    """The embedded retrieval model and its tokenizer."""
    return hf_attrib.embedded.load("keys-llama")


@pytest.fixture(scope="session")
def g2p():
    """The embedded grapheme-to-phoneme model and its tokenizer."""
    return hf_attrib.embedded.load("g2p-t5")


@pytest.fixture
def looking_ahead():
    """A model that looks ahead."""
    return made_looking_ahead()
