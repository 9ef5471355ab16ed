"""The task ``token-attribution`` of ``transformers.pipeline``: prompts in, attributions out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from transformers import Pipeline

from hf_attrib.engine import ExplainOptions
from hf_attrib.engine.options import check_names
from hf_attrib.errors import InputError
from hf_attrib.execution import Progress, silent
from hf_attrib.explainer import Explainer
from hf_attrib.results import Attribution

__all__ = ["TokenAttributionPipeline"]

#: What a row may hold, by the names of ``explain``; messages are a prompt, too.
_OF_ROWS = (
    "prompt",
    "messages",
    "input_ids",
    "attention_mask",
    "documents",
    "response",
    "response_ids",
    "contrast",
    "template_options",
)
_EXPECTED = "expected a text, a chat (a list of messages with a role) or a mapping with a prompt"


class TokenAttributionPipeline(Pipeline):  # type: ignore[misc]
    """Attributes generated tokens to the tokens of their prompts.

    Each prompt is explained by itself, so that its result is, to the last bit, that of
    ``model.explain`` for it alone, whatever stands beside it. A list for ``model.explain`` is
    padded into batches, which may take less time and is the same up to rounding.

    Args:
        model: a causal or encoder-decoder language model of transformers.
        tokenizer: its tokenizer.
        max_memory: as for :class:`hf_attrib.Explainer`.
        progress: as for :class:`hf_attrib.Explainer`.
        **given: what any pipeline takes, and options of :meth:`hf_attrib.Explainer.explain`, which
            hold for all calls.

    Raises:
        InputError: there is no such option; or the model is no generative one.
    """

    _load_tokenizer = True
    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        max_memory: str | int | None = None,
        progress: Progress = silent,
        **given: Any,
    ) -> None:
        explainer = Explainer(model, tokenizer, max_memory=max_memory, progress=progress)
        _check_loading(given)
        super().__init__(model=model, tokenizer=explainer.tokenizer, **given)
        self._explainer = explainer

    def __call__(
        self,
        inputs: Any,
        *,
        batch_size: int | None = None,
        num_workers: int | None = None,
        **options: Any,
    ) -> Any:
        """Explain one prompt, or several.

        Args:
            inputs: a text; a chat, a list of messages with a role; or a row, a mapping that has a
                ``prompt``, ``messages`` or ``input_ids`` and may have ``documents``, a
                ``response`` or ``response_ids``, a ``contrast``, an ``attention_mask`` and
                ``template_options``. Or a list of them; or whatever else yields them, such as a
                generator or a data set.
            batch_size: taken, as every pipeline takes it, and changes nothing: each prompt is
                explained by itself.
            num_workers: 0, as prompts are read here.
            **options: of :meth:`hf_attrib.Explainer.explain`.

        Returns:
            an :class:`hf_attrib.Attribution`; a list of them for a list; and for what yields
            prompts an iterator, which explains each when it is asked for the next.

        Raises:
            InputError: an input or an option cannot be used; of several inputs, it says which.
            UnsupportedModelError: the model cannot be explained faithfully.
        """
        _check_loading({"batch_size": batch_size, "num_workers": num_workers})
        parameters: list[Any] = [{}, self._forward_params | self._options(options), {}]
        if isinstance(inputs, str | bytes | Mapping) or _is_chat(inputs):
            return self.run_single(inputs, *parameters)
        each = self._each(_several(inputs), parameters)
        if not isinstance(inputs, list | tuple):
            return each
        if not inputs:
            raise InputError("the list of prompts is empty; give at least one.")
        return list(each)

    def _each(self, inputs: Iterable[Any], parameters: list[Any]) -> Iterator[Attribution]:
        for number, one in enumerate(inputs, 1):
            try:
                yield self.run_single(one, *parameters)
            except InputError as error:
                error.args = (f"input {number}: {error}", *error.args[1:])
                raise

    def _options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        rows = sorted(set(given) & {"prompt", "messages"})
        if rows:
            raise InputError(
                f"{rows[0]} came by name; give it as the input, or in a mapping: "
                f"pipe({{{rows[0]!r}: ...}})."
            )
        check_names(given, ExplainOptions, "model.explain, which this pipeline calls,", self.model)
        return dict(given)

    def _sanitize_parameters(self, **options: Any) -> tuple[Any, Any, Any]:
        """Hand all options to the forward pass; the other steps have none."""
        return {}, self._options(options), {}

    def preprocess(self, input_: Any) -> dict[str, Any]:
        """Return what an input holds, by the names that ``explain`` has for it."""
        if isinstance(input_, str) or _is_chat(input_):
            return {"prompt": input_}
        if not isinstance(input_, Mapping):
            raise InputError(f"{_EXPECTED}; got {input_!r:.80}.")
        unknown = [name for name in input_ if name not in _OF_ROWS]
        if unknown:
            raise InputError(
                f"a row has {unknown[0]!r:.80}, which model.explain reads in no row; keep of it "
                f"{', '.join(_OF_ROWS)} (select_columns of a data set does)."
            )
        row = {name: value for name, value in input_.items() if value is not None}
        if "messages" in row:
            if "prompt" in row:
                raise InputError("a row has a prompt and messages; keep one of them.")
            row["prompt"] = row.pop("messages")
        if isinstance(row.get("prompt"), list) and not _is_chat(row["prompt"]):
            raise InputError("a row holds one prompt, but a list came; make a row of each.")
        return row

    def get_inference_context(self) -> Any:
        """Leave gradients on, which the base would turn off: attributions need them."""
        return nullcontext

    def _forward(self, row: dict[str, Any], **options: Any) -> Any:
        """Explain one prompt; it is encoded by the engine, so the ids that ran are explained."""
        return self._explainer.explain(**(options | row))

    def postprocess(self, result: Any) -> Any:
        """Return the result as it is."""
        return result


def _is_chat(given: Any) -> bool:
    """Tell a conversation from several inputs: its first element has a role."""
    listed = isinstance(given, list | tuple) and len(given) > 0
    return listed and isinstance(given[0], Mapping) and "role" in given[0]


def _several(inputs: Any) -> Iterator[Any]:
    """Yield inputs one by one, also those of a data set of torch, which is only indexed."""
    if not isinstance(inputs, Iterable) and not hasattr(inputs, "__getitem__"):
        raise InputError(f"{_EXPECTED}, or several of them; got {inputs!r:.80}.")
    return iter(inputs)


def _check_loading(given: Mapping[str, Any]) -> None:
    """Refuse what says how a pipeline reads its inputs and makes no sense here."""
    size, workers = given.get("batch_size"), given.get("num_workers")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise InputError(f"batch_size is {size!r}; expected a number of at least 1.")
    if workers:
        raise InputError(
            f"num_workers is {workers!r}; expected 0, since prompts are encoded where they are "
            "explained."
        )
