"""What an explainer can be asked about methods: which predicts best, and whether they are sane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from typing_extensions import Unpack

from hf_attrib.engine import Answering, check_names, documented_by
from hf_attrib.validation.choice import CHOOSE_DEFAULTS, Choice, choice_of, chosen
from hf_attrib.validation.contest import DEFAULT_METHODS, contested
from hf_attrib.validation.costs import EvaluationEstimate, evaluation_cost
from hf_attrib.validation.options import (
    EVALUATE_DEFAULTS,
    EvaluateOptions,
    SanityOptions,
    contest_of,
)
from hf_attrib.validation.result import Evaluation
from hf_attrib.validation.sanity import CHECKS, Sanity, checked_sanity

__all__ = ["Judging"]


class Judging:
    """Calls that judge methods by what one model does.

    Attributes:
        model: the model.
    """

    model: Any
    _answering: Answering

    @documented_by(EvaluateOptions, EVALUATE_DEFAULTS)
    def evaluate(
        self, prompts: Any, methods: Any = DEFAULT_METHODS, **options: Unpack[EvaluateOptions]
    ) -> Evaluation:
        """Judge how well methods predict what the model does without what they rank.

        Args:
            prompts: texts or messages; one or several, each of which may be a list of ids instead.
            methods: names, ``"name(field=value)"``, methods, arguments of :meth:`explain` in a
                mapping, functions of a case that return scores, or lists of scores, one for each
                prompt; in a list, or in a mapping by what they are called.
            **options: see :class:`hf_attrib.validation.EvaluateOptions`.

        Raises:
            InputError: an argument cannot be used; the message says what to do.
            UnsupportedModelError: the model cannot be explained faithfully.
        """
        check_names(options, EvaluateOptions, "evaluate", self.model)
        return contested(self._answering, *contest_of(prompts, methods, options))

    @documented_by(EvaluateOptions, EVALUATE_DEFAULTS)
    def estimate_evaluation(
        self, prompts: Any, methods: Any = DEFAULT_METHODS, **options: Unpack[EvaluateOptions]
    ) -> EvaluationEstimate:
        """Tell what :meth:`evaluate` would cost, from a few rows of each method and prompt.

        Nothing is generated: an answer that did not come with its prompt is as long as it could be.

        Args:
            prompts: as for :meth:`evaluate`.
            methods: likewise.
            **options: see :class:`hf_attrib.validation.EvaluateOptions`.

        Raises:
            InputError: an argument cannot be used, or a method does not say what it costs.
        """
        check_names(options, EvaluateOptions, "estimate_evaluation", self.model)
        return evaluation_cost(self._answering, *contest_of(prompts, methods, options))

    @documented_by(EvaluateOptions, CHOOSE_DEFAULTS)
    def choose(
        self, prompt: Any, methods: Any = DEFAULT_METHODS, **options: Unpack[EvaluateOptions]
    ) -> Choice:
        """Explain one prompt by the method that predicts best what the model does without it.

        Methods are ranked by the first metric under each operator; the lowest mean rank wins.

        Args:
            prompt: a text, or messages.
            methods: who takes part, as for :meth:`evaluate`.
            **options: see :class:`hf_attrib.validation.EvaluateOptions`.

        Returns:
            the winner's :class:`Attribution` with the contest; it says where none beats random.
        """
        check_names(options, EvaluateOptions, "choose", self.model)
        choice = chosen(self._answering, *choice_of(prompt, methods, options))
        self._answering.warn([choice.attribution])
        return choice

    @documented_by(SanityOptions, EVALUATE_DEFAULTS)
    def sanity(
        self,
        prompts: Any,
        methods: Any = DEFAULT_METHODS,
        checks: str | Sequence[str] = tuple(CHECKS),
        **options: Unpack[SanityOptions],
    ) -> Sanity:
        """Check that scores depend on what they must depend on, whatever they predict.

        Args:
            prompts: as for :meth:`evaluate`.
            methods: likewise; those that bring scores alone cannot be asked again.
            checks: of :data:`hf_attrib.validation.CHECKS`, by name.
            **options: see :class:`hf_attrib.validation.SanityOptions`.

        Raises:
            InputError: an argument cannot be used; the message says what to do.
        """
        check_names(options, SanityOptions, "sanity", self.model)
        return checked_sanity(self._answering, *contest_of(prompts, methods, options), checks)
