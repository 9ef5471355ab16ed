"""From a prompt to an attribution: the arrows between the modules, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast, overload

from torch import nn
from typing_extensions import Unpack

from hf_attrib.engine import (
    DEFAULTS,
    INTERACTIONS_DEFAULTS,
    Answering,
    Citing,
    CoalitionGame,
    Engine,
    Estimate,
    ExplainOptions,
    InteractionsOptions,
    Memory,
    Plan,
    Question,
    RobustnessOptions,
    Sharing,
    documented_by,
    game_of,
    given_to,
    grounded,
    interacting,
    pair_question,
    size_of,
    table_rows,
)
from hf_attrib.engine.attachment import bind
from hf_attrib.errors import InputError
from hf_attrib.execution import ALONE, Progress, connected, silent
from hf_attrib.hyperparameters import plain_number
from hf_attrib.model import Transcriber, check_generative
from hf_attrib.results import Attribution, Interactions
from hf_attrib.robustness import Robustness, margin_question, measure_robustness, radius_search
from hf_attrib.text import Messages, Prompts, Requests
from hf_attrib.text.given import tokenizer_of
from hf_attrib.validation import DEFAULT_METHODS, EvaluateOptions, Evaluation, Judging, automatic

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Explainer", "attach", "estimate", "evaluate"]

#: What ``robustness`` does when nothing is said.
_ATTACK = {"attack": "bim", "eps": 1.0, "bisections": 6}
_INPUTS = {name: DEFAULTS[name] for name in ("attribute_to", "movable")}
#: What ``explain``, ``robustness`` and ``estimate`` take as a prompt.
_Prompt: TypeAlias = str | Messages | Prompts | None


class Explainer(Judging, Citing):
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
        progress: called with (done, in all) during attribution: of path nodes, or of targets
            where each places its own nodes.
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
        check_generative(model)
        tokenizer = tokenizer_of(tokenizer)
        batch_size = plain_number(batch_size)
        if batch_size is not None and (type(batch_size) is not int or batch_size < 1):
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
            an :class:`Attribution`, scores [T, N] with their completeness gap; or a list of them.

        Raises:
            InputError: an argument cannot be used; the message says what to do.
            UnsupportedModelError: the model cannot be explained faithfully.
        """
        requests, given = given_to(self.model, prompt, options, ExplainOptions, "explain")
        if given.get("method") == "auto":
            results = automatic(self._answering, requests, given)
        else:
            question, generation = Question.of(given)
            results = self._answering.worked(requests, question, generation, self._attributed)
        self._answering.warn(results)
        return results if requests.many else results[0]

    def explain_requests(
        self, requests: Requests, question: Question, generation: Mapping[str, Any]
    ) -> list[Attribution]:
        """Return what :meth:`explain` does, for a question that is made already.

        Args:
            requests: prompts, with responses or without.
            question: what is asked about each of them.
            generation: arguments of ``generate``.
        """
        results = self._answering.worked(requests, question, generation, self._attributed)
        self._answering.warn(results)
        return results

    def _attributed(self, plan: Plan, sharing: Sharing) -> Iterator[Attribution]:
        return grounded(self._engine, plan, sharing.of_rows)

    @overload
    def robustness(
        self, prompt: str | Messages | None = None, **options: Unpack[RobustnessOptions]
    ) -> Robustness: ...

    @overload
    def robustness(
        self, prompt: Prompts, **options: Unpack[RobustnessOptions]
    ) -> list[Robustness]: ...

    @documented_by(RobustnessOptions, _ATTACK | _INPUTS)
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
        requests, given = given_to(self.model, prompt, options, RobustnessOptions, "robustness")
        attack, eps, bisections = (given.pop(n, default) for n, default in _ATTACK.items())
        inputs = {name: given.pop(name, default) for name, default in _INPUTS.items()}
        baseline = given.pop("baseline", None)
        search, generation = radius_search(attack, eps, bisections, given)
        question = margin_question(search.attack, baseline, **inputs)

        def work(plan: Plan, sharing: Sharing) -> Iterator[Robustness]:
            return measure_robustness(self._engine, plan, search, sharing.of_rows)

        found = self._answering.worked(requests, question, generation, work, search)
        self._answering.warn(found)
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
        requests, given = given_to(self.model, prompt, options, ExplainOptions, "estimate")
        question, generation = Question.of(given)
        found = self.estimate_requests(requests, question, generation)
        return found if requests.many else found[0]

    def estimate_requests(
        self, requests: Requests, question: Question, generation: Mapping[str, Any]
    ) -> list[Estimate]:
        """Return what :meth:`estimate` does, for a question that is made already.

        Args:
            requests: prompts, with responses or without.
            question: what would be asked about each of them.
            generation: arguments of ``generate``.
        """
        further = table_rows(question, requests.contrasted)
        found = self._answering.estimated(requests, question, generation, further)
        self._answering.warn(found)
        return found

    @overload
    def interactions(
        self, prompt: str | Messages | None = None, **options: Unpack[InteractionsOptions]
    ) -> Interactions: ...

    @overload
    def interactions(
        self, prompt: Prompts, **options: Unpack[InteractionsOptions]
    ) -> list[Interactions]: ...

    @documented_by(InteractionsOptions, INTERACTIONS_DEFAULTS)
    def interactions(
        self, prompt: _Prompt = None, **options: Unpack[InteractionsOptions]
    ) -> Interactions | list[Interactions]:
        """Score what pairs of inputs do together for each generated token.

        Args:
            prompt: a text, messages, or a list of either, as for :meth:`explain`.
            **options: see :class:`hf_attrib.engine.InteractionsOptions`.

        Raises:
            InputError: an argument cannot be used, or there are too many groups to pair.
            UnsupportedModelError: the model cannot be explained faithfully.
        """
        requests, given = given_to(self.model, prompt, options, InteractionsOptions, "interactions")
        question, generation = pair_question(given)

        def work(plan: Plan, sharing: Sharing) -> Iterator[Interactions]:
            return interacting(self._engine, plan, sharing.of_rows)

        found = self._answering.worked(requests, question, generation, work)
        self._answering.warn(found)
        return found if requests.many else found[0]

    @documented_by(ExplainOptions, {n: d for n, d in DEFAULTS.items() if n != "method"})
    def game(
        self, prompt: str | Messages | None = None, **options: Unpack[ExplainOptions]
    ) -> CoalitionGame:
        """Return f of subsets of the inputs, for methods of your own, or those of shapiq.

        Args:
            prompt: a text or messages, as for :meth:`explain`.
            **options: see :class:`hf_attrib.engine.ExplainOptions`; no method, but its ``mode``.

        Raises:
            InputError: an argument cannot be used; the message says what to do.
            UnsupportedModelError: the model cannot be explained faithfully.
        """
        return game_of(
            self._answering, *given_to(self.model, prompt, options, ExplainOptions, "game")
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


def evaluate(
    model: nn.Module,
    tokenizer: Any = None,
    prompts: Any = None,
    methods: Any = DEFAULT_METHODS,
    *,
    batch_size: int | None = None,
    max_memory: str | int | None = None,
    **options: Unpack[EvaluateOptions],
) -> Evaluation:
    """Judge methods by what the model does without what they rank: :meth:`Explainer.evaluate`.

    Args:
        model: a generative model of transformers.
        tokenizer: its tokenizer.
        prompts: as for :meth:`Explainer.evaluate`.
        methods: likewise.
        batch_size: as for :class:`Explainer`.
        max_memory: as for :class:`Explainer`.
        **options: those of :meth:`Explainer.evaluate`.
    """
    explainer = Explainer(model, tokenizer, batch_size=batch_size, max_memory=max_memory)
    return explainer.evaluate(prompts, methods, **options)


#: What an attached model can do.
_BOUND = (
    "explain",
    "interactions",
    "passages",
    "robustness",
    "estimate",
    "evaluate",
    "choose",
    "sanity",
    "estimate_evaluation",
    "game",
)


def attach(model: nn.Module, tokenizer: Any = None, **options: Any) -> ExplainedModel:
    """Bind ``model.explain`` and the other calls of :class:`Explainer`, and return the model.

    Args:
        model: a generative model of transformers.
        tokenizer: its tokenizer.
        **options: further arguments of :class:`Explainer`.
    """
    bind(model, Explainer, _BOUND, tokenizer, options)
    return cast("ExplainedModel", model)
