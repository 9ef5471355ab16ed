"""From a request to the very ids that run: the prompt, and the response given or generated."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.model.devices import device_of
from hf_attrib.model.sites import sites_of, vocabulary
from hf_attrib.text import Request, Tokens, TokenSequence
from hf_attrib.text.encoding import as_ids, check_text, encode_prompt, encode_response, wrap

__all__ = ["Transcriber", "limit_length", "most_new_tokens", "positions"]

#: Length of a response when neither the call nor the model's generation config says one.
_DEFAULT_NEW_TOKENS = 64
#: What transformers writes when a call stops generation by other means than a length.
_LIBRARY_NEW_TOKENS = 20


def positions(model: Any) -> int:
    """Return how many positions a model has, or 0 if it sets no limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 0
    return max(0, int(limit))  # XLNet says -1


def limit_length(model: Any, arguments: dict[str, Any], prompt: int) -> None:
    """Keep generation within the model's positions, and within a default length.

    Args:
        model: what generates.
        arguments: of ``generate``; a length is added to them if nothing sets one.
        prompt: how many tokens the prompt has.

    Raises:
        InputError: no tokens are asked for, or more than there is room for.
    """
    config = arguments.get("generation_config") or model.generation_config
    room, asked = _room(model, prompt), arguments.get("max_new_tokens")
    if room is not None and room < 1:
        raise InputError(
            f"the prompt has {prompt:,} tokens, but {type(model).__name__} reads at most "
            f"{positions(model):,}, so that no token can follow. Shorten the prompt."
        )
    if asked is not None and asked < 1:
        raise InputError(f"max_new_tokens is {asked}; allow at least one new token.")
    if asked is not None and room is not None and asked > room:
        raise InputError(
            f"max_new_tokens is {asked}, but {type(model).__name__} has room for {room} "
            f"tokens after this prompt. Ask for fewer."
        )
    lengths = ("max_new_tokens", "max_length", "max_time", "stopping_criteria")
    if config.max_new_tokens is config.max_length is None and not set(lengths) & set(arguments):
        most = _DEFAULT_NEW_TOKENS if room is None else min(_DEFAULT_NEW_TOKENS, room)
        arguments["max_new_tokens"] = most


def most_new_tokens(model: Any, generation: Mapping[str, Any], prompt: int) -> int:
    """Return how many tokens ``generate`` would write at most.

    Args:
        model: what would generate.
        generation: arguments of ``generate``.
        prompt: how many tokens the prompt has.

    Raises:
        InputError: it would write none.
    """
    arguments = dict(generation)
    limit_length(model, arguments, prompt)

    def said(name: str) -> Any:
        given = arguments.get(name)
        for config in (arguments.get("generation_config"), model.generation_config):
            given = getattr(config, name, None) if given is None else given
        return given

    most, read = said("max_new_tokens"), 1 if model.config.is_encoder_decoder else prompt
    if most is None:
        length = said("max_length")
        most = _LIBRARY_NEW_TOKENS if length is None else length - read
    room = _room(model, prompt)
    most = int(most) if room is None else min(int(most), room)
    if most < 1:
        raise InputError(
            f"the prompt has {prompt:,} tokens, and with them generation has reached the length "
            "that it is allowed. Raise max_length, or set max_new_tokens to at least 1."
        )
    return most


def _room(model: Any, prompt: int) -> int | None:
    """Return how many tokens fit behind a prompt, or ``None`` if there is no limit."""
    limit, read = positions(model), 0 if model.config.is_encoder_decoder else prompt
    # The last generated token is not read again.
    return limit - read + 1 if limit else None


class Transcriber:
    """Writes down prompts and responses as the ids that a model reads and generates.

    Args:
        model: the model.
        tokenizer: its tokenizer, or ``None`` if all comes as ids.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.special = _special_ids(model, tokenizer)

    def prompt(self, request: Request) -> Tokens:
        """Tokenise a prompt; nothing runs.

        Args:
            request: whose prompt.

        Raises:
            InputError: it is empty, too long, or cannot be tokenised.
        """
        if request.prompt is not None:
            tokens = encode_prompt(
                self.tokenizer, request.prompt, request.template_options, self.special
            )
        else:
            ids, config = as_ids(request.input_ids, "input_ids"), self.model.generation_config
            if ids[0] == config.pad_token_id not in (config.bos_token_id, config.eos_token_id):
                raise InputError(
                    "input_ids begin with padding; cut it off, since it would be read."
                )
            tokens = wrap(self.tokenizer, ids, "prompt", self.special)
        self._check_range(tokens, "prompt")
        return tokens

    def sequence(
        self, prompt: Tokens, request: Request, generation: Mapping[str, Any]
    ) -> TokenSequence:
        """Return a prompt with its response: the one that was given, or what the model generates.

        Args:
            prompt: what :meth:`prompt` returned.
            request: that it is of.
            generation: arguments of ``generate``.

        Raises:
            InputError: the response is empty or too long, or nothing can be generated.
        """
        if not request.answered:
            sequence = self._generate(prompt, generation)
        elif generation:
            names = ", ".join(sorted(generation))
            raise InputError(f"a response was given, so nothing is generated; remove {names}.")
        else:
            sequence = TokenSequence(prompt, self._decoder_start(), self._given(request))
        self._check_range(sequence.response, "response")
        read = [len(sequence.prompt), len(sequence.inputs) - len(sequence.prompt)]
        self._check_length(max(read) if len(sequence.start) else sum(read))
        return sequence

    def stand_in(self, prompt: Tokens, generation: Mapping[str, Any]) -> TokenSequence:
        """Return a prompt with an answer as long as generation could write, of no meaning.

        Args:
            prompt: what :meth:`prompt` returned.
            generation: arguments of ``generate``.

        Raises:
            InputError: there is room for no token.
        """
        count = most_new_tokens(self.model, generation, len(prompt))
        ids = [int(prompt.ids[-1])] * count
        return self.sequence(prompt, Request(input_ids=prompt.ids, response_ids=ids), {})

    def _given(self, request: Request) -> Tokens:
        """Return the response that came with a prompt."""
        if request.response is not None:
            response = encode_response(self.tokenizer, request.response, self.special)
            return self._forced_start() + response
        ids = as_ids(request.response_ids, "response_ids")
        return self.generated(_without_padding(ids, self.model.generation_config))

    def _check_range(self, tokens: Tokens, name: str) -> None:
        """Refuse ids that would fail deep inside the model."""
        size = min(vocabulary(m) for m in sites_of(self.model).modules.values())
        low, high = int(tokens.ids.min()), int(tokens.ids.max())
        if low < 0 or high >= size:
            raise InputError(
                f"the {name} has token ids from {low} to {high}, but {type(self.model).__name__} "
                f"has {size} tokens. Is the tokenizer the model's own?"
            )
        self._check_length(len(tokens))

    def _check_length(self, length: int) -> None:
        limit = positions(self.model)
        if limit and limit < length:
            raise InputError(
                f"{type(self.model).__name__} reads at most {limit} tokens, but would read "
                f"{length}. Shorten the prompt or the response."
            )

    def generated(self, ids: list[int]) -> Tokens:
        """Return ids that the model generated as tokens."""
        return wrap(self.tokenizer, ids, "generated", self.special)

    def _forced_start(self) -> Tokens:
        """Return the token that generation puts before every answer, if the model has one."""
        forced = self.model.generation_config.forced_bos_token_id
        several = forced if isinstance(forced, list) else [forced]
        ids = [] if forced is None or not self.model.config.is_encoder_decoder else several
        return wrap(self.tokenizer, ids, "special", set(ids))

    def _decoder_start(self) -> Tokens:
        """Return what the decoder starts from: nothing on decoder-only models."""
        if not self.model.config.is_encoder_decoder:
            return wrap(self.tokenizer, [], "special", self.special)
        config = self.model.generation_config
        starts = (config.decoder_start_token_id, config.bos_token_id)
        start = next((s for s in starts if s is not None), None)
        start = start[0] if isinstance(start, list) else start
        if start is None:
            raise InputError(
                f"{type(self.model).__name__} does not say what its decoder starts from; set "
                "model.generation_config.decoder_start_token_id."
            )
        return wrap(self.tokenizer, [int(start)], "special", {int(start)})

    def _generate(self, prompt: Tokens, generation: Mapping[str, Any]) -> TokenSequence:
        """Let the model answer; prompts are answered one by one, since padding changes answers."""
        arguments = dict(generation)
        check_text(arguments)  # what stops it may be a text
        if foreign := sorted(set(arguments) & _read_by_forward(self.model)):
            raise InputError(
                f"{', '.join(foreign)} would make the model read something else than the prompt; "
                "such arguments cannot be passed to generation here."
            )
        limit_length(self.model, arguments, len(prompt))
        reader = next(iter(sites_of(self.model).modules.values()))
        ids = prompt.ids[None].to(device_of(reader))
        try:
            output = self.model.generate(ids, attention_mask=torch.ones_like(ids), **arguments)
        except IndexError as error:
            raise InputError(
                f"generation ran past the {positions(self.model)} positions of "
                f"{type(self.model).__name__}; allow fewer new tokens."
            ) from error
        except (TypeError, ValueError) as error:
            raise InputError(f"generate refuses: {error}") from error
        sequences = output if isinstance(output, Tensor) else output.sequences
        if len(sequences) != 1:
            raise InputError(f"generation returned {len(sequences)} sequences; expected one.")
        written = sequences[0].tolist()
        read = 1 if self.model.config.is_encoder_decoder else len(prompt)
        response = written[read:]
        if not response:
            raise InputError("the model generated nothing; allow at least one new token.")
        start = written[:1] if self.model.config.is_encoder_decoder else []
        decoder = wrap(self.tokenizer, start, "special", set(start))
        return TokenSequence(prompt, decoder, self.generated(response))


def _special_ids(model: Any, tokenizer: Any) -> set[int]:
    """Return ids of tokens that carry no content: the tokenizer's, and the model's own."""
    config = model.generation_config
    ids: set[Any] = set()
    for found in (config.bos_token_id, config.eos_token_id, config.pad_token_id):
        ids |= set(found) if isinstance(found, list) else {found}
    if tokenizer is not None:
        # The unknown token stands for content, unless it is the end of the text too (GPT-2).
        ids |= {int(i) for i in tokenizer.all_special_ids} - {tokenizer.unk_token_id}
        ids |= {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    return ids - {None}


def _read_by_forward(model: Any) -> set[str]:
    """Return arguments that ``generate`` would hand on to the model as input of its own."""
    forward = set(inspect.signature(model.forward).parameters)
    known = {name for name in forward if hasattr(model.generation_config, name)}
    return forward - known | {"encoder_outputs", "inputs", "past_key_values"}


def _without_padding(ids: list[int], config: Any) -> list[int]:
    """Cut the padding that a batch leaves behind the end of a shorter answer."""
    end, pad = config.eos_token_id, config.pad_token_id
    ends = set(end) if isinstance(end, list) else {end}
    if pad is None or pad in ends:
        return ids  # nothing tells it from the end itself
    last = max((i for i, token in enumerate(ids) if token in ends), default=len(ids) - 1)
    return ids[: last + 1] if set(ids[last + 1 :]) <= {pad} else ids
