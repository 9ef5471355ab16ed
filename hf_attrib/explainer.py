"""From a prompt to an attribution: the arrows between the modules, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, TypeVar, overload

from torch import nn

from hf_attrib.attacks import Attack
from hf_attrib.baselines import BaselineLike
from hf_attrib.engine import (
    Engine,
    Estimate,
    Memory,
    Question,
    Rehearsal,
    Sharing,
    size_of,
    split_arguments,
)
from hf_attrib.errors import InputError
from hf_attrib.execution import ALONE, Progress, connected, silent
from hf_attrib.methods import Method
from hf_attrib.model import Transcriber, isolated
from hf_attrib.results import Attribution
from hf_attrib.robustness import Robustness, measure, search_of, search_question
from hf_attrib.targets import Score
from hf_attrib.targets import target as target_named
from hf_attrib.text import Grouping, Ids, Messages, Prompts, Requests, TokenSequence

__all__ = ["Explainer", "attach", "estimate"]


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
        if not isinstance(model, nn.Module) or not callable(getattr(model, "generate", None)):
            raise InputError(
                f"expected a generative model of transformers, such as AutoModelForCausalLM "
                f"loads; got {type(model).__name__}."
            )
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; expected at least 1.")
        self.model: Any = model
        self.tokenizer = tokenizer
        memory = Memory(batch_size, None if max_memory is None else size_of(max_memory))
        # Or a rehearsal of both, while costs are estimated.
        self._transcriber: Any = Transcriber(model, tokenizer)
        self._engine: Any = Engine(model, tokenizer, memory, progress)
        self._processes = connected() if distributed else ALONE

    @overload
    def explain(self, prompt: str | Messages | None = None, **options: Any) -> Attribution: ...

    @overload
    def explain(self, prompt: Prompts, **options: Any) -> list[Attribution]: ...

    def explain(
        self,
        prompt: str | Messages | Prompts | None = None,
        *,
        input_ids: Ids | None = None,
        response: str | list[str] | None = None,
        response_ids: Ids | list[Ids] | None = None,
        method: str | Method = "integrated_gradients",
        target: str | Score = "log_prob",
        contrast: str | int | Sequence[int] | None = None,
        baseline: BaselineLike | None = None,
        spans: Grouping | None = None,
        groups: Grouping | None = None,
        attribute_to: str = "prompt",
        movable: str | Sequence[bool] = "content",
        template_options: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> Attribution | list[Attribution]:
        """Attribute every generated token to the tokens it was generated from.

        Without a response the model generates one, exactly as ``model.generate`` would; sampling
        draws from torch's global generator, nothing else does.

        Args:
            prompt: a text, or a list of messages, which the chat template renders; or a list of
                either, answered by a list of results that equal those of single calls.
            input_ids: the prompt as token ids, instead of ``prompt``.
            response: an answer to explain instead of generating one; a list for a list of prompts.
            response_ids: the same as token ids.
            method: name of a method, or a :class:`Method`.
            target: ``"log_prob"``, ``"logit"``, ``"log_odds"``, ``"margin"`` or ``"prob"`` of
                each generated token, the ``"entropy"`` of what could have been, or a function of
                logits [M, V] and ids [M] that returns f [M].
            contrast: explain f(token) - f(contrast): one token (text or id) for all positions, or
                an id for each.
            baseline: the reference of each token: ``"mean"``, ``"zero"``, ``"pad"``, ``"eos"``,
                ``"unk"``, ``"mask"``, ``"token:TEXT"``, a token id, another prompt (a list of one
                text), or embeddings [D] or [N, D]; for methods that average over references also
                ``"vocabulary"``, ``"noise"`` or a list of prompts; by default the method's own.
            spans: explain sums over parts of the response, at one backward pass each:
                ``"response"``, ``"word"``, ``"sentence"``, or parts as for
                :meth:`Attribution.group`; by default each token is explained.
            groups: join the inputs as :meth:`Attribution.group` does: ``"word"``, ``"sentence"``,
                ``"turn"`` or parts. Few groups cost much less than tokens, whatever the length of
                the answer.
            attribute_to: ``"prompt"`` holds the generated prefix fixed; ``"all"`` moves and
                scores it too.
            movable: ``"content"`` holds special and template tokens at their embeddings, which
                then score 0; ``"all"`` moves them too; or a flag for each input token.
            template_options: further arguments of the chat template.
            **arguments: fields of the method; anything else goes to ``generate``.

        Returns:
            scores [T, N] with their completeness gap.

        Raises:
            InputError: an argument cannot be used; the message says what to do.
            UnsupportedModelError: the model cannot be explained faithfully.
        """
        chosen, generation = split_arguments(method, arguments)
        question = Question(
            chosen, target_named(target), contrast, baseline, attribute_to, movable, spans, groups
        )
        requests = Requests.of(prompt, input_ids, response, response_ids, template_options)
        with self._answered(requests, question, generation) as (sequences, sharing):
            results: list[Any] = self._engine.attribute(sequences, question, sharing.of_rows)
            results = sharing.joined(results)
        return results if requests.many else results[0]

    @overload
    def robustness(self, prompt: str | Messages | None = None, **options: Any) -> Robustness: ...

    @overload
    def robustness(self, prompt: Prompts, **options: Any) -> list[Robustness]: ...

    def robustness(
        self,
        prompt: str | Messages | Prompts | None = None,
        *,
        attack: str | Attack = "bim",
        eps: float = 1.0,
        bisections: int = 6,
        baseline: BaselineLike | None = None,
        input_ids: Ids | None = None,
        response: str | list[str] | None = None,
        response_ids: Ids | list[Ids] | None = None,
        attribute_to: str = "prompt",
        movable: str | Sequence[bool] = "content",
        template_options: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> Robustness | list[Robustness]:
        """Find the smallest radius at which an attack flips each generated token.

        Args:
            prompt: as for :meth:`explain`.
            attack: its name, or as it is written: ``"mim(decay=0.9)"``; or an :class:`Attack`.
            eps: the largest radius to try, in embedding scales.
            bisections: how often the interval around the radius that flips a token is halved.
            baseline: as for :meth:`explain`, for attacks that take one.
            input_ids: as for :meth:`explain`.
            response: likewise.
            response_ids: likewise.
            attribute_to: likewise; what is not attributed to is not attacked either.
            movable: likewise.
            template_options: likewise.
            **arguments: fields of the attack; anything else goes to ``generate``.

        Raises:
            InputError: an argument cannot be used; the message says what to do.
            UnsupportedModelError: the model cannot be attacked faithfully.
        """
        search, generation = search_of(attack, eps, bisections, arguments)
        question = search_question(search.attack, baseline, attribute_to, movable)
        requests = Requests.of(prompt, input_ids, response, response_ids, template_options)
        with self._answered(requests, (question, search), generation) as (sequences, sharing):
            found = measure(self._engine, sequences, question, search, sharing.of_rows)
            found = sharing.joined(found)
        return found if requests.many else found[0]

    @contextmanager
    def _answered(
        self, requests: Requests, asked: object, generation: Mapping[str, Any]
    ) -> Iterator[tuple[list[TokenSequence], Sharing]]:
        """Answer prompts, or write their responses down, and keep the model isolated meanwhile."""
        sharing = Sharing(self._processes, len(requests.each))
        # Generation too: dropout left on would write, and explain, another model's answer.
        with self._processes.together(), isolated(self.model):
            self._processes.check_same(requests, asked, generation)
            sequences = [
                self._transcriber.transcribe(request, requests.template_options, generation)
                for request in sharing.own(requests.each)
            ]
            yield sharing.answered(sequences, self._transcriber), sharing

    def estimate(
        self, prompt: str | Messages | Prompts | None = None, **options: Any
    ) -> Estimate | list[Estimate]:
        """Tell what :meth:`explain` would cost, from a few rows that are run.

        Generation is not counted. Without a response there is none: the estimate is for the
        longest one that generation could write.

        Args:
            prompt: as for :meth:`explain`; a list is estimated prompt by prompt.
            **options: those of :meth:`explain`.

        Raises:
            InputError: an argument cannot be used; the message says what to do.
            MemoryLimitError: a single row takes more than ``max_memory``.
        """
        rehearsing: Any = copy(self)
        # Asked in every way like explain, so that it refuses what explain would.
        rehearsing._transcriber = rehearsing._engine = Rehearsal(self._transcriber, self._engine)
        rehearsing._processes = ALONE  # each process for itself
        found: Estimate | list[Estimate] = rehearsing.explain(prompt, **options)
        return found


_Model = TypeVar("_Model", bound=nn.Module)


def estimate(
    model: nn.Module,
    tokenizer: Any = None,
    prompt: str | Messages | Prompts | None = None,
    *,
    batch_size: int | None = None,
    max_memory: str | int | None = None,
    **options: Any,
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
    explainer = Explainer(model, tokenizer, batch_size=batch_size, max_memory=max_memory)
    return explainer.estimate(prompt, **options)


def attach(model: _Model, tokenizer: Any = None, **options: Any) -> _Model:
    """Bind ``model.explain`` and ``model.robustness``, and return the model.

    Args:
        model: a generative model of transformers.
        tokenizer: its tokenizer.
        **options: further arguments of :class:`Explainer`.
    """
    explainer: Any = Explainer(model, tokenizer, **options)
    model.explain, model.robustness = explainer.explain, explainer.robustness
    return model
