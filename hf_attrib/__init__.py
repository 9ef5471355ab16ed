"""Explain language models: which input tokens made them say what they said.

>>> import hf_attrib
>>> model, tokenizer = hf_attrib.embedded.load("keys-llama")
>>> model = hf_attrib.attach(model, tokenizer)
>>> prompt = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
>>> result = model.explain(prompt)
>>> "".join(result.response_pieces)
" Bob's key is blue.</s>"

A name is imported when it is first used, as torch and transformers take seconds: the command line
answers ``hf-attrib --help`` without them. For the same reason the task ``token-attribution`` joins
those of ``transformers.pipeline`` when its module is there, or as soon as it is.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_attrib import embedded, methods
    from hf_attrib.engine import Estimate
    from hf_attrib.errors import (
        AttributionWarning,
        HFAttribError,
        InputError,
        MemoryLimitError,
        ProcessError,
        ResultFileError,
        UnsupportedModelError,
    )
    from hf_attrib.explainer import Explainer, attach, estimate, evaluate
    from hf_attrib.methods import Method
    from hf_attrib.results import (
        Attribution,
        Comparison,
        Interactions,
        Passages,
        compare,
        load,
        read_log,
    )
    from hf_attrib.robustness import RobustAccuracy, Robustness, robust_accuracy
    from hf_attrib.runs import (
        DatasetEstimate,
        DatasetRun,
        Explain,
        estimate_dataset,
        explain_dataset,
        load_run,
    )
    from hf_attrib.validation import Choice, Evaluation

__all__ = [
    "Attribution",
    "AttributionWarning",
    "Choice",
    "Comparison",
    "DatasetEstimate",
    "DatasetRun",
    "Estimate",
    "Evaluation",
    "Explain",
    "Explainer",
    "HFAttribError",
    "InputError",
    "Interactions",
    "MemoryLimitError",
    "Method",
    "Passages",
    "ProcessError",
    "ResultFileError",
    "RobustAccuracy",
    "Robustness",
    "UnsupportedModelError",
    "attach",
    "compare",
    "embedded",
    "estimate",
    "estimate_dataset",
    "evaluate",
    "explain_dataset",
    "load",
    "load_run",
    "methods",
    "read_log",
    "robust_accuracy",
]

__version__: str

#: The module that each public name lives in; a public name without one is a module itself.
_HOMES = {
    "Attribution": "results",
    "AttributionWarning": "errors",
    "Choice": "validation",
    "Comparison": "results",
    "DatasetEstimate": "runs",
    "DatasetRun": "runs",
    "Estimate": "engine",
    "Evaluation": "validation",
    "Explain": "runs",
    "Explainer": "explainer",
    "HFAttribError": "errors",
    "InputError": "errors",
    "Interactions": "results",
    "MemoryLimitError": "errors",
    "Method": "methods",
    "Passages": "results",
    "ProcessError": "errors",
    "ResultFileError": "errors",
    "RobustAccuracy": "robustness",
    "Robustness": "robustness",
    "UnsupportedModelError": "errors",
    "attach": "explainer",
    "compare": "results",
    "estimate": "explainer",
    "estimate_dataset": "runs",
    "evaluate": "explainer",
    "explain_dataset": "runs",
    "load": "results",
    "read_log": "results",
    "load_run": "runs",
    "robust_accuracy": "robustness",
}

_PIPELINES = "transformers.pipelines"


class _Task(dict[str, Any]):
    """Our entry among the tasks: its class is imported when a pipeline is made.

    transformers 5.23 takes the name of a class as well; versions before take classes alone.
    """

    def __getitem__(self, key: str) -> Any:
        """Return an entry, and the class itself for its name."""
        value = super().__getitem__(key)
        if key != "impl":
            return value
        module, _, name = value.rpartition(".")
        return getattr(import_module(module), name)


class _Registrar(MetaPathFinder):
    """Adds our task to transformers' pipelines behind their import, which it never causes."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Find that one module, as the usual finder does, and register when it has run."""
        spec = PathFinder.find_spec(name, path, target) if name == _PIPELINES else None
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_register(module: Any) -> None:
                run(module)
                self.register(module)

            spec.loader.exec_module = run_and_register  # type: ignore[method-assign]
        return spec

    def register(self, pipelines: Any) -> None:
        """Add the task to the others."""
        tasks = pipelines.PIPELINE_REGISTRY.supported_tasks
        models = pipelines.AutoModelForCausalLM, pipelines.AutoModelForSeq2SeqLM
        implementation = f"{__name__}.runs.pipeline.TokenAttributionPipeline"
        tasks["token-attribution"] = _Task(impl=implementation, pt=models, type="text")


if hasattr(sys.modules.get(_PIPELINES), "PIPELINE_REGISTRY"):
    _Registrar().register(sys.modules[_PIPELINES])
else:
    sys.meta_path.insert(0, _Registrar())


if not TYPE_CHECKING:  # a type checker would believe that there is any name

    def __getattr__(name: str) -> Any:
        """Import a public name or a module of the package when it is first used (PEP 562)."""
        from importlib import metadata, util

        if name == "__version__":
            value: Any = metadata.version(__name__)
        elif name in _HOMES:
            value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
        elif (
            name.isidentifier()
            and not name.startswith("_")
            and util.find_spec(f"{__name__}.{name}") is not None
        ):
            return import_module(f"{__name__}.{name}")  # which makes itself an attribute
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "__version__"})
