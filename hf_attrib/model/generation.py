"""From a request to the very ids that run: the prompt, and the response given or generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from hf_attrib.errors import InputError, UnsupportedModelError
from hf_attrib.model.choice import REWRITING, choice_of, read_by_forward, said
from hf_attrib.model.devices import check_loaded, device_of
from hf_attrib.model.forward import run_once
from hf_attrib.model.positions import positions, trained_positions
from hf_attrib.model.sites import sites_of, vocabulary
from hf_attrib.model.special import marks_of, special_ids
from hf_attrib.model.state import state_restored
from hf_attrib.model.window import check_window
from hf_attrib.text import Documents, Request, Tokens, TokenSequence
from hf_attrib.text.encoding import check_text, encode_prompt, encode_response, wrap
from hf_attrib.text.given import answer_ids, as_ids, check_mask_of_text, read_ids

__all__ = ["Transcriber", "limit_length", "most_new_tokens"]

#: Length of a response when neither the call nor the model's generation config says one.
_DEFAULT_NEW_TOKENS = 64
#: What transformers writes when a call stops generation by other means than a length.
_LIBRARY_NEW_TOKENS = 20
#: Where the decoder of a given answer starts, which its ids do not say.
_STARTS = ("decoder_start_token_id", "forced_bos_token_id")


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
    for name in ("max_new_tokens", "max_length"):
        given = arguments.get(name)
        if given is not None and (isinstance(given, bool) or not isinstance(given, Integral)):
            raise InputError(f"{name} is {given!r:.80}; expected a whole number.")
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

    most = said("max_new_tokens", arguments, model)
    read = 1 if model.config.is_encoder_decoder else prompt
    if most is None:
        length = said("max_length", arguments, model)
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
        self.special = special_ids(model, tokenizer)

    def prompt(self, request: Request) -> Tokens:
        """Tokenise a prompt; nothing runs.

        Args:
            request: whose prompt.

        Raises:
            InputError: it is empty, too long, or cannot be tokenised.
        """
        request.check()
        if request.prompt is not None:
            tokens = self._encoded(request, request.documents)
            check_mask_of_text(request.attention_mask, len(tokens))
        else:
            given = as_ids(request.input_ids, "input_ids")
            marks = marks_of(self.model, self.tokenizer, (), self.special)
            ids = read_ids(given, request.attention_mask, marks)
            tokens = wrap(self.tokenizer, ids, "prompt", self.special)
        # How many documents fit depends on the answer, which is looked at next.
        self._check_range(tokens, "prompt", fits=request.documents is None)
        return tokens

    def _encoded(self, request: Request, documents: Documents | None) -> Tokens:
        assert request.prompt is not None
        options = request.template_options
        return encode_prompt(self.tokenizer, request.prompt, options, self.special, documents)

    def _check_window(self, request: Request, prompt: Tokens, answer: int) -> None:
        """Refuse more documents than fit before so many tokens of an answer."""
        if request.documents is not None:
            check_window(
                self.model,
                len(prompt),
                answer,
                request.documents,
                lambda some: len(self._encoded(request, some)),
            )

    def given(
        self, prompt: Tokens, request: Request, generation: Mapping[str, Any]
    ) -> TokenSequence | None:
        """Return a prompt with the response that came with it; nothing runs.

        Without a response, check that ``generate`` can be asked for one.

        Args:
            prompt: what :meth:`prompt` returned.
            request: that it is of.
            generation: arguments of ``generate``.

        Raises:
            InputError: the response is empty or too long, or nothing could be generated.
        """
        check_loaded(self.model)
        if not request.answered:
            asked = generation.get("max_new_tokens")
            self._check_window(request, prompt, asked if type(asked) is int and asked > 1 else 1)
            self._arguments(prompt, generation)
            return None
        if names := sorted(set(generation) - set(self._starts())):
            raise InputError(
                f"a response was given, so nothing is generated; remove {', '.join(names)}."
            )
        start = self._decoder_start(generation)
        response, notes = self._response(prompt, start, request, generation)
        self._check_window(request, prompt, len(response))
        return self._checked(TokenSequence(prompt, start, response, notes))

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
        given = self.given(prompt, request, generation)
        return self._checked(self._generate(prompt, generation)) if given is None else given

    def stand_in(self, prompt: Tokens, generation: Mapping[str, Any]) -> TokenSequence:
        """Return a prompt with an answer as long as generation could write, of no meaning.

        Args:
            prompt: what :meth:`prompt` returned.
            generation: arguments of ``generate``.

        Raises:
            InputError: there is room for no token.
        """
        count = most_new_tokens(self.model, generation, len(prompt))
        response = self.generated([int(prompt.ids[-1])] * count, prompt)
        return self._checked(TokenSequence(prompt, self._decoder_start(generation), response))

    def _response(
        self, prompt: Tokens, start: Tokens, request: Request, generation: Mapping[str, Any]
    ) -> tuple[Tokens, tuple[str, ...]]:
        """Return the response that came with a prompt, and notes about it."""
        if request.response is not None:
            before = None if len(start) else prompt
            found, notes = encode_response(self.tokenizer, request.response, self.special, before)
            forced = self._forced_start(generation)
            again = found.ids[: len(forced)].equal(forced.ids)  # what generation wrote has it
            return found if again else forced + found, notes
        starts = tuple(start.ids.tolist())
        marks = marks_of(self.model, self.tokenizer, starts, self.special)
        ids, cut = answer_ids(request.response_ids, prompt.ids.tolist(), marks)
        return self.generated(ids, prompt), tuple(cut)

    def _checked(self, sequence: TokenSequence) -> TokenSequence:
        """Refuse a sequence that the model cannot read; say so where it may read it badly."""
        self._check_range(sequence.response, "response")
        prompt, every = len(sequence.prompt), len(sequence.inputs)
        sides = {"encoder": prompt, "decoder": every - prompt}
        for side, length in (sides if len(sequence.start) else {"decoder": every}).items():
            self._check_length(length, side)
            if 0 < (made := trained_positions(self.model, side)) < length:
                break
        else:
            return sequence
        note = (
            f"{type(self.model).__name__} reads {length:,} tokens here, more than the {made:,} of "
            "max_position_embeddings in its config; its scaled positions go on, but what it writes "
            "may be poor."
        )
        return replace(sequence, notes=(*sequence.notes, note))

    def _check_range(self, tokens: Tokens, name: str, fits: bool = True) -> None:
        """Refuse ids that would fail deep inside the model, and more of them than it reads."""
        size = min(vocabulary(m) for m in sites_of(self.model).modules.values())
        low, high = int(tokens.ids.min()), int(tokens.ids.max())
        if low < 0 or high >= size:
            raise InputError(
                f"the {name} has token ids from {low} to {high}, but {type(self.model).__name__} "
                f"has {size} tokens. Is the tokenizer the model's own?"
            )
        reads = name == "prompt" and self.model.config.is_encoder_decoder
        if fits:
            self._check_length(len(tokens), "encoder" if reads else "decoder")

    def _check_length(self, length: int, side: str) -> None:
        limit = positions(self.model, side)
        if limit and limit < length:
            raise InputError(
                f"{type(self.model).__name__} reads at most {limit} tokens, but would read "
                f"{length}. Shorten the prompt or the response."
            )

    def generated(self, ids: list[int], prompt: Tokens) -> Tokens:
        """Return ids that the model generated as tokens.

        Args:
            ids: of the response.
            prompt: which it follows in one text, unless the model is an encoder-decoder.
        """
        behind = () if self.model.config.is_encoder_decoder else prompt.ids.tolist()
        return wrap(self.tokenizer, ids, "generated", self.special, behind)

    def _starts(self) -> tuple[str, ...]:
        return _STARTS if self.model.config.is_encoder_decoder else ()

    def _forced_start(self, generation: Mapping[str, Any]) -> Tokens:
        """Return the token that generation puts before every answer, if the model has one."""
        forced = said("forced_bos_token_id", generation, self.model)
        several = forced if isinstance(forced, list) else [forced]
        ids = [] if forced is None or not self.model.config.is_encoder_decoder else several
        return wrap(self.tokenizer, ids, "special", set(ids))

    def _decoder_start(self, generation: Mapping[str, Any]) -> Tokens:
        """Return what the decoder starts from: nothing on decoder-only models."""
        if not self.model.config.is_encoder_decoder:
            return wrap(self.tokenizer, [], "special", self.special)
        names = ("decoder_start_token_id", "bos_token_id")
        starts = (said(name, generation, self.model) for name in names)
        start = next((s for s in starts if s is not None), None)
        start = start[0] if isinstance(start, list) else start
        if start is None:
            raise InputError(
                f"{type(self.model).__name__} does not say what its decoder starts from; set "
                "model.generation_config.decoder_start_token_id."
            )
        return wrap(self.tokenizer, [int(start)], "special", {int(start)})

    def _arguments(self, prompt: Tokens, generation: Mapping[str, Any]) -> dict[str, Any]:
        """Return what ``generate`` is called with besides the prompt; nothing runs."""
        arguments = dict(generation)
        stops = said("stop_strings", arguments, self.model)  # of a config, too
        check_text((arguments, stops))
        if foreign := sorted(set(arguments) & read_by_forward(self.model)):
            raise InputError(
                f"{', '.join(foreign)} would make the model read something else than the prompt; "
                "such arguments cannot be passed to generation here."
            )
        limit_length(self.model, arguments, len(prompt))
        reading = ("stop_strings", "token_healing")
        if self.tokenizer is not None and any(said(n, arguments, self.model) for n in reading):
            arguments.setdefault("tokenizer", self.tokenizer)
        return arguments

    def _generate(self, prompt: Tokens, generation: Mapping[str, Any]) -> TokenSequence:
        """Let the model answer; prompts are answered one by one, since padding changes answers."""
        arguments = self._arguments(prompt, generation)
        reader = next(iter(sites_of(self.model).modules.values()))
        ids = prompt.ids[None].to(device_of(reader))
        sequences = ids
        try:
            with state_restored(self.model, lambda: run_once(self.model, ids, sequences)):
                # By name, since PEFT's encoder-decoder models take it no other way.
                output = self.model.generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), **arguments
                )
                sequences = output if isinstance(output, Tensor) else output.sequences
        except IndexError as error:
            raise InputError(
                f"generation ran past the {positions(self.model)} positions of "
                f"{type(self.model).__name__}; allow fewer new tokens."
            ) from error
        except (TypeError, ValueError, OSError) as error:  # code that is nowhere, as well
            hint = _hooks_on(self.model) if isinstance(error, TypeError) else ""
            raise InputError(f"generate refuses: {error}{hint}") from error
        except AttributeError as error:
            raise UnsupportedModelError(
                f"{type(self.model).__name__} fails in generate: {error}{_hooks_on(self.model)}"
            ) from error
        if len(sequences) != 1:
            raise InputError(f"generation returned {len(sequences)} sequences; expected one.")
        written = sequences[0].tolist()
        read = 1 if self.model.config.is_encoder_decoder else len(prompt)
        if not self.model.config.is_encoder_decoder and written[:read] != prompt.ids.tolist():
            named = [n for n in REWRITING if said(n, arguments, self.model)] or sorted(generation)
            raise InputError(
                f"generate put other tokens in the prompt's place ({', '.join(named) or 'it'} "
                "does), so its answer is not one to this prompt; generate without, or give the "
                "prompt that it read and its response_ids."
            )
        response = written[read:]
        if not response:
            raise InputError("the model generated nothing; allow at least one new token.")
        start = written[:1] if self.model.config.is_encoder_decoder else []
        decoder = wrap(self.tokenizer, start, "special", set(start))
        chosen = choice_of(arguments, self.model)
        return TokenSequence(prompt, decoder, self.generated(response, prompt), *chosen)


def _hooks_on(model: Any) -> str:
    """Return a hint at hooks of the caller's, which may return what a model cannot go on with."""
    names = [name or "the model" for name, m in model.named_modules() if m._forward_hooks]
    if not names:
        return ""
    return (
        f"; a forward hook on {', '.join(names[:3])} may return something else than its module "
        "does, so correct or remove it"
    )
