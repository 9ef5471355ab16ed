"""From a prompt to an attribution: the arrows between the modules, and nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, cast, overload

from torch import nn
from typing_extensions import Unpack

from hf_attrib import render as render  # results look as it registers
from hf_attrib.engine import (
    DEFAULTS,
    Answering,
    Engine,
    Estimate,
    ExplainOptions,
    Memory,
    Place,
    Plan,
    Question,
    RobustnessOptions,
    Sharing,
    check_names,
    documented_by,
    size_of,
)
from hf_attrib.engine.record import warning_of
from hf_attrib.errors import AttributionWarning, InputError
from hf_attrib.execution import ALONE, Progress, connected, silent
from hf_attrib.model import Transcriber, isolated
from hf_attrib.results import Attribution
from hf_attrib.robustness import Robustness, margin_question, measure_robustness, radius_search
from hf_attrib.text import (
    Messages,
    Prompts,
    Request,
    Requests,
    settings_kept,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Explainer", "attach", "estimate"]

#: What ``robustness`` does when nothing is said.
_ATTACK = {"attack": "bim", "eps": 1.0, "bisections": 6}
_INPUTS = {name: DEFAULTS[name] for name in ("attribute_to", "movable")}
_REQUEST = (
    "input_ids",
    "response",
    "response_ids",
    "template_options",
    "attention_mask",
    "on_error",
)
#: What ``explain``, ``robustness`` and ``estimate`` take as a prompt.
_Prompt: TypeAlias = str | Messages | Prompts | None


class Explainer:
    """Explains what one model generates.

    Args:
        model: a causal or encoder-decoder language model of transformers.
        tokenizer: its tokenizer; without one, prompts and responses are given as ids.
        batch_size: sequences run at once, whatever memory is free; by default as many as fit, up
            to about 1,024 tokens on CPUs and 16,384 elsewhere. It changes memory and speed only.
        max_memory: what the rows of an attribution may take beyond the model, as ``"2GiB"``,
            ``"500MB"`` or in bytes; by default a share of what is free. It does not bound
            generation, the mean of the embedding table, what a method prepares, nor the keys and
            values of a prefix that is run once.
        progress: called with (path nodes done, nodes in all) during attribution.
        distributed: share the work with the other processes that ``accelerate launch`` or
            ``torchrun`` started. All of them must then make the same calls, and all get the
            same results; with one process nothing changes.

    Raises:
        InputError: the model is no generative model of transformers, or processes that a
            launcher started cannot be connected.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any = None,
        *,
        batch_size: int | None = None,
        max_memory: str | int | None = None,
        progress: Progress = silent,
        distributed: bool = False,
    ) -> None:
        generative = callable(getattr(model, "generate", None))
        configured = all(
            getattr(model, name, None) is not None for name in ("config", "generation_config")
        )
        if not isinstance(model, nn.Module) or not generative or not configured:
            raise InputError(
                f"expected a generative model of transformers, such as AutoModelForCausalLM "
                f"loads; got {type(model).__name__}."
            )
        read = getattr(model, "main_input_name", "input_ids")
        if read != "input_ids":
            raise InputError(
                f"{type(model).__name__} reads {read}, which are no text; expected a model whose "
                "input_ids are tokens of text, since tokens are what is scored."
            )
        tokenizer = _tokenizer_of(tokenizer)
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise InputError(f"batch_size is {batch_size!r}; expected a number of at least 1.")
        self.model: Any = model
        self.tokenizer = tokenizer
        memory = Memory(batch_size, None if max_memory is None else size_of(max_memory))
        self._transcriber = Transcriber(model, tokenizer)
        self._engine = Engine(model, tokenizer, memory, progress)
        self._processes = connected() if distributed else ALONE
        self._answering = Answering(self._engine, self._transcriber, self._processes)

    @overload
    def explain(
        self, prompt: str | Messages | None = None, **options: Unpack[ExplainOptions]
    ) -> Attribution: ...

    @overload
    def explain(self, prompt: Prompts, **options: Unpack[ExplainOptions]) -> list[Attribution]: ...

    @documented_by(ExplainOptions, DEFAULTS)
    def explain(
        self, prompt: _Prompt = None, **options: Unpack[ExplainOptions]
    ) -> Attribution | list[Attribution]:
        """Attribute every generated token to the tokens it was generated from.

        Without a response the model generates one, exactly as ``model.generate`` would; sampling
        draws from torch's global generator, nothing else does.

        Args:
            prompt: a text, or a list of messages, which the chat template renders; or a list of
                either, answered by a list of results that equal those of single calls.
            **options: see :class:`hf_attrib.engine.ExplainOptions`.

        Returns:
            scores [T, N] with their completeness gap.

        Raises:
            InputError: an argument cannot be used; the message says what to do.
            UnsupportedModelError: the model cannot be explained faithfully.
        """
        requests, given = self._given(prompt, options, ExplainOptions, "explain")
        question, generation = Question.of(given)
        results = self.answer(requests, question, generation)
        return results if requests.many else results[0]

    def answer(
        self, requests: Requests, question: Question, generation: Mapping[str, Any]
    ) -> list[Attribution]:
        """Return what :meth:`explain` does, for a question that is made already.

        Args:
            requests: prompts, with responses or without.
            question: what is asked about each of them.
            generation: arguments of ``generate``.
        """

        def work(plan: Plan, sharing: Sharing) -> Iterator[Attribution]:
            return self._engine.attribute(plan, sharing.of_rows)

        results = self._answering.worked(requests, question, generation, work)
        found = [result for result in results if isinstance(result, Attribution)]
        # When all is done, since a filter may make an error of a warning.
        self._warn([m for m in map(warning_of, found) if m], results, 3)
        return results

    @overload
    def robustness(
        self, prompt: str | Messages | None = None, **options: Unpack[RobustnessOptions]
    ) -> Robustness: ...

    @overload
    def robustness(
        self, prompt: Prompts, **options: Unpack[RobustnessOptions]
    ) -> list[Robustness]: ...

    @documented_by(
        RobustnessOptions, _ATTACK | {n: DEFAULTS[n] for n in ("attribute_to", "movable")}
    )
    def robustness(
        self, prompt: _Prompt = None, **options: Unpack[RobustnessOptions]
    ) -> Robustness | list[Robustness]:
        """Find the smallest radius at which an attack flips each generated token.

        Args:
            prompt: a text, messages, or a list of either, as for :meth:`explain`.
            **options: see :class:`hf_attrib.engine.RobustnessOptions`.

        Raises:
            InputError: an argument cannot be used; the message says what to do.
            UnsupportedModelError: the model cannot be attacked faithfully.
        """
        requests, given = self._given(prompt, options, RobustnessOptions, "robustness")
        attack, eps, bisections = (given.pop(n, default) for n, default in _ATTACK.items())
        inputs = {name: given.pop(name, default) for name, default in _INPUTS.items()}
        baseline = given.pop("baseline", None)
        search, generation = radius_search(attack, eps, bisections, given)
        question = margin_question(search.attack, baseline, **inputs)

        def work(plan: Plan, sharing: Sharing) -> Iterator[Robustness]:
            return measure_robustness(self._engine, plan, search, sharing.of_rows)

        found = self._answering.worked(requests, question, generation, work, search)
        self._warn([], found, 2)
        return found if requests.many else found[0]

    @overload
    def estimate(
        self, prompt: str | Messages | None = None, **options: Unpack[ExplainOptions]
    ) -> Estimate: ...

    @overload
    def estimate(self, prompt: Prompts, **options: Unpack[ExplainOptions]) -> list[Estimate]: ...

    @documented_by(ExplainOptions, DEFAULTS)
    def estimate(
        self, prompt: _Prompt = None, **options: Unpack[ExplainOptions]
    ) -> Estimate | list[Estimate]:
        """Tell what :meth:`explain` would cost, from a few rows that are run.

        Generation is not counted. Without a response there is none: the estimate is for the
        longest one that generation could write.

        Args:
            prompt: as for :meth:`explain`; a list is estimated prompt by prompt.
            **options: see :class:`hf_attrib.engine.ExplainOptions`.

        Raises:
            InputError: an argument cannot be used; the message says what to do.
            MemoryLimitError: a single row takes more than ``max_memory``.
        """
        requests, given = self._given(prompt, options, ExplainOptions, "estimate")
        question, generation = Question.of(given)
        found = self.cost(requests, question, generation)
        return found if requests.many else found[0]

    def cost(
        self, requests: Requests, question: Question, generation: Mapping[str, Any]
    ) -> list[Estimate]:
        """Return what :meth:`estimate` does, for a question that is made already.

        Args:
            requests: prompts, with responses or without.
            question: what would be asked about each of them.
            generation: arguments of ``generate``.
        """
        found: list[Any] = []
        with isolated(self.model), settings_kept(self.tokenizer):
            self._engine.check(question, [])
            for place in range(len(requests.each)):
                with Place(requests, place, found):
                    found.append(self._cost(requests.each[place], question, generation))
        self._warn([], found, 3)
        return found

    def _cost(
        self, request: Request, question: Question, generation: Mapping[str, Any]
    ) -> Estimate:
        tokens = self._transcriber.prompt(request)
        self._engine.check(question, [tokens])
        sequence = self._transcriber.given(tokens, request, generation)
        if sequence is None:
            sequence = self._transcriber.stand_in(tokens, generation)
        return self._engine.estimate(question, sequence, not request.answered)

    def _given(
        self, prompt: _Prompt, options: Mapping[str, Any], kind: Any, call: str
    ) -> tuple[Requests, dict[str, Any]]:
        """Return the requests of a call, and what else it was given by name."""
        check_names(options, kind, call, self.model)
        requested = {name: options[name] for name in _REQUEST if name in options}
        rest = {name: value for name, value in options.items() if name not in requested}
        return Requests.of(prompt, **requested), rest

    def _warn(self, messages: Sequence[str], results: Sequence[Any], depth: int) -> None:
        """Warn of what readers of results must know; each warning holds the results.

        Args:
            messages: about results.
            results: all of the call.
            depth: how many calls stand between this one and the caller's.
        """
        unsaid, self._engine.unsaid = self._engine.unsaid, []
        for message in (*unsaid, *messages):
            warning = AttributionWarning(message)
            warning.results = results
            warnings.warn(warning, stacklevel=depth + 1)


def _tokenizer_of(given: Any) -> Any:
    """Return a tokenizer, out of a processor if it came in one.

    Raises:
        InputError: it is none of transformers.
    """
    inner = getattr(given, "tokenizer", None)
    tokenizer = given if inner is None else inner
    usual = ("decode", "convert_ids_to_tokens", "all_special_ids", "is_fast")
    if tokenizer is None or (callable(tokenizer) and all(hasattr(tokenizer, n) for n in usual)):
        return tokenizer
    raise InputError(
        f"expected a tokenizer of transformers, such as AutoTokenizer loads; got "
        f"{type(given).__name__}. Load or wrap it (PreTrainedTokenizerFast(tokenizer_object=...))."
    )


if TYPE_CHECKING:

    class ExplainedModel(PreTrainedModel, Explainer):  # type: ignore[misc]
        """A model as type checkers see it once it has been attached: with what was bound to it."""


def estimate(
    model: nn.Module,
    tokenizer: Any = None,
    prompt: _Prompt = None,
    *,
    batch_size: int | None = None,
    max_memory: str | int | None = None,
    **options: Unpack[ExplainOptions],
) -> Estimate | list[Estimate]:
    """Tell what it would cost to explain a prompt; see :meth:`Explainer.estimate`.

    Args:
        model: a generative model of transformers.
        tokenizer: its tokenizer.
        prompt: as for :meth:`Explainer.explain`.
        batch_size: as for :class:`Explainer`.
        max_memory: as for :class:`Explainer`.
        **options: those of :meth:`Explainer.explain`.
    """
    explainer: Any = Explainer(model, tokenizer, batch_size=batch_size, max_memory=max_memory)
    found: Estimate | list[Estimate] = explainer.estimate(prompt, **options)
    return found


def attach(model: nn.Module, tokenizer: Any = None, **options: Any) -> ExplainedModel:
    """Bind ``model.explain``, ``model.robustness`` and ``model.estimate``, and return the model.

    Args:
        model: a generative model of transformers.
        tokenizer: its tokenizer.
        **options: further arguments of :class:`Explainer`.
    """
    explainer, bound = Explainer(model, tokenizer, **options), cast("Any", model)
    bound.explain, bound.robustness = explainer.explain, explainer.robustness
    bound.estimate = explainer.estimate
    return cast("ExplainedModel", model)
