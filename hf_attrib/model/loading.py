"""From a model's name to the model and its tokenizer."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hf_attrib import embedded
from hf_attrib.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["DTYPES", "check_device", "load_model", "name_of"]

DTYPES = ("auto", "float32", "bfloat16", "float16")


def load_model(
    name: str,
    *,
    revision: str | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a causal or encoder-decoder model in evaluation mode, and its tokenizer.

    Args:
        name: an embedded model, a model of the Hugging Face hub, or a local folder. An embedded
            model goes before a folder of the same name; ``./name`` is always the folder.
        revision: branch, tag or commit on the hub.
        device: ``"cpu"``, ``"cuda"``, ``"mps"`` (with an index if you like), or ``"auto"``, which
            spreads the model over what there is.
        dtype: one of :data:`DTYPES`; ``"auto"`` keeps what the model was saved in.
        trust_remote_code: whether to run Python code that comes with the model.

    Raises:
        InputError: there is no such model, it is no language model, or no such device.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype {dtype!r} is unknown; expected one of {', '.join(DTYPES)}.")
    check_device(device)
    placement = {"device_map": "auto"} if device == "auto" else {}
    model, tokenizer = _from_pretrained(
        name, {"revision": revision, "trust_remote_code": trust_remote_code}, dtype, placement
    )
    if name in embedded.names():
        model.config.name_or_path = name  # results name the model, not where it is installed
    return (model if placement else model.to(device)).eval(), tokenizer


def name_of(model: Any) -> str:
    """Return what a model is called, for results that may be shared: never where it lies.

    Of a folder that is its last part, and of one in the cache of the hub the repository,
    ``"google/gemma-3-270m"``.

    Args:
        model: a model of transformers.
    """
    given = str(model.config.name_or_path or "")
    if cached := re.search(r"(?:^|[/\\])models--([^/\\]+)[/\\]snapshots[/\\]", given):
        return cached[1].replace("--", "/")
    if Path(given).is_absolute() or given.startswith((".", "~")) or Path(given).exists():
        given = Path(given).resolve().name if given else ""
    return given or type(model).__name__


def check_device(name: str) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        InputError: there is no such device.
    """
    if name == "auto":
        return
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    kind, _, index = name.partition(":")
    if kind not in counts or (index and not index.isdecimal()):
        raise InputError(f"device {name!r} is unknown; expected auto, {', '.join(counts)}.")
    if int(index or 0) >= counts[kind]:
        raise InputError(f"device {name!r} is not available here; cpu and auto always are.")


def _from_pretrained(
    name: str, origin: Mapping[str, Any], dtype: str, placement: Mapping[str, Any]
) -> tuple[Any, PreTrainedTokenizerBase]:
    source = _source(name)
    # Importing transformers takes seconds, which a mistyped argument need not wait for.
    import transformers

    with _one_sentence(f"the model {name!r}", name):
        base = _base_of(name, source, origin)
        config = transformers.AutoConfig.from_pretrained(base or source, **({} if base else origin))
        auto: Any = transformers.AutoModelForCausalLM
        if config.is_encoder_decoder:
            auto = transformers.AutoModelForSeq2SeqLM
    with _one_sentence(f"the tokenizer of {name!r}", name):
        tokenizer = _tokenizer(source, base, origin)
    with _one_sentence(f"the model {name!r}", name):
        model, report = auto.from_pretrained(
            source, config=config, dtype=dtype, output_loading_info=True, **placement, **origin
        )
    if missing := sorted(report["missing_keys"]):
        raise InputError(
            f"{name!r} lacks {len(missing)} weights of a {type(model).__name__}, such as "
            f"{missing[0]}, and would run with random ones; give a generative language model."
        )
    return model, tokenizer


def _base_of(name: str, source: str | Path, origin: Mapping[str, Any]) -> str | None:
    """Return the model that an adapter is for, or ``None`` if this is no adapter of PEFT.

    Raises:
        InputError: the adapter does not name its model, or PEFT is missing.
    """
    from transformers.utils import cached_file

    optional = {
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
        "_raise_exceptions_for_gated_repo": False,
    }
    revision = origin.get("revision")
    if cached_file(source, "config.json", revision=revision, **optional) is not None:
        return None
    file = cached_file(source, "adapter_config.json", revision=revision, **optional)
    if file is None:
        return None
    try:
        base = json.loads(Path(file).read_text()).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"the adapter {name!r} has no readable adapter_config.json.") from error
    if not isinstance(base, str) or not base:
        raise InputError(
            f"{name!r} is an adapter that does not name its model; write base_model_name_or_path "
            "into its adapter_config.json."
        )
    if find_spec("peft") is None:
        raise InputError(f"{name!r} is an adapter of {base}; install peft to load it.")
    return base


def _tokenizer(source: str | Path, base: str | None, origin: Mapping[str, Any]) -> Any:
    """Return the tokenizer of a model, or of an adapter that may leave it to its model."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source, **origin)
    except (OSError, ValueError, KeyError):
        if base is None:
            raise
        return AutoTokenizer.from_pretrained(base)


def _source(name: str) -> str | Path:
    """Return the folder of a model, or its name on the hub."""
    if name in embedded.names():
        return embedded.path(name)
    if os.path.isdir(name):
        return name
    if os.path.exists(name):
        raise InputError(f"model {name!r} is a file; give the folder that holds config.json.")
    if not name.strip() or name.startswith((".", "/", "~")):
        raise InputError(f"there is no model folder {name!r}.")
    return name


@contextmanager
def _one_sentence(what: str, name: str) -> Iterator[None]:
    """Turn the ways in which transformers fails on what it reads into one."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        raise InputError(f"cannot load {what}: {_reason(name, error)}") from error


def _reason(name: str, error: Exception) -> str:
    if "trust_remote_code" in str(error):
        return (
            "it runs Python code of its own. If you trust its authors, allow it "
            "(--trust-remote-code, trust_remote_code=True)."
        )
    first = next(iter(str(error).strip().splitlines()), "")
    if not first or isinstance(error, KeyError):
        first = f"{type(error).__name__} {first}"
    reason = f"{first.rstrip(' .:')}."
    if not os.path.isdir(name):
        if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "ON", "YES", "TRUE"):
            reason += " HF_HUB_OFFLINE is set, so nothing is downloaded."
        reason += f" Embedded models: {', '.join(embedded.names())}."
    return reason
