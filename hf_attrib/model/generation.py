"""From a request to the very ids that run: the prompt, and the response given or generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
from hf_attrib.model.window import check_window, limit_length, most_new_tokens
from hf_attrib.text import Documents, Request, Tokens, TokenSequence
from hf_attrib.text.encoding import check_text, encode_prompt, encode_response, wrap
from hf_attrib.text.given import answer_ids, as_ids, check_mask_of_text, read_ids

__all__ = ["Transcriber"]

#: Where the decoder of a given answer starts, which its ids do not say.
_STARTS = ("decoder_start_token_id", "forced_bos_token_id")


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
        if request.contrast is not None:
            self.contrast(request.contrast, prompt, None)
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
        return self.checked(
            TokenSequence(prompt, start, response, notes, contrast=request.contrast)
        )

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
        if given is not None:
            return given
        return self.checked(replace(self._generate(prompt, generation), contrast=request.contrast))

    def contrast(
        self, given: Any, prompt: Tokens, behind: Tokens | None
    ) -> tuple[list[int], tuple[str, ...]]:
        """Return the ids of another answer, or of another part of one, and notes about it.

        Args:
            given: a text, or ids.
            prompt: that it answers.
            behind: tokens of the answer that it follows, if there are any.

        Raises:
            InputError: it is neither, or empty, or has ids that are no tokens.
        """
        notes: tuple[str, ...] = ()
        if isinstance(given, Mapping):
            raise InputError(
                f"contrast is {given!r:.80}; expected text, a token id, or ids. Write a message "
                "out as the model does: its content, or the text of its call."
            )
        if isinstance(given, str):
            before = behind
            if not self.model.config.is_encoder_decoder:
                before = prompt if behind is None else prompt + behind
            tokens, notes = encode_response(
                self.tokenizer, given, self.special, before, name="contrast"
            )
        else:
            tokens = self.generated(as_ids(given, "contrast"), prompt)
        self._check_range(tokens, "contrast")
        return tokens.ids.tolist(), notes

    def ends(self) -> list[int]:
        """Return the ids that end an answer, the usual one first; of some models none is known."""
        named = [self.model.generation_config.eos_token_id]
        several = named[0] if isinstance(named[0], list) else named
        usual = getattr(self.tokenizer, "eos_token_id", None)
        known = [int(i) for i in several if i is not None]
        first = [] if usual is None or (known and usual not in known) else [int(usual)]
        return list(dict.fromkeys([*first, *known]))

    def stand_in(
        self, prompt: Tokens, request: Request, generation: Mapping[str, Any]
    ) -> TokenSequence:
        """Return a prompt with an answer as long as generation could write, of no meaning.

        Args:
            prompt: what :meth:`prompt` returned.
            request: that it is of.
            generation: arguments of ``generate``.

        Raises:
            InputError: there is room for no token.
        """
        count = most_new_tokens(self.model, generation, len(prompt))
        response = self.generated([int(prompt.ids[-1])] * count, prompt)
        start, contrast = self._decoder_start(generation), request.contrast
        return self.checked(TokenSequence(prompt, start, response, contrast=contrast))

    def _response(
        self, prompt: Tokens, start: Tokens, request: Request, generation: Mapping[str, Any]
    ) -> tuple[Tokens, tuple[str, ...]]:
        """Return the response that came with a prompt, and notes about it."""
        if request.response is not None:
            before = None if len(start) else prompt
            found, notes = encode_response(self.tokenizer, request.response, self.special, before)
            forced = self.forced_start(generation)
            again = found.ids[: len(forced)].equal(forced.ids)  # what generation wrote has it
            return found if again else forced + found, notes
        starts = tuple(start.ids.tolist())
        marks = marks_of(self.model, self.tokenizer, starts, self.special)
        ids, cut = answer_ids(request.response_ids, prompt.ids.tolist(), marks)
        return self.generated(ids, prompt), tuple(cut)

    def checked(self, sequence: TokenSequence, name: str = "response") -> TokenSequence:
        """Refuse a sequence that the model cannot read; say so where it may read it badly.

        Args:
            sequence: a prompt and an answer.
            name: what the answer is called.

        Raises:
            InputError: it has ids that are no tokens, or is too long.
        """
        self._check_range(sequence.response, name)
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

    def forced_start(self, generation: Mapping[str, Any]) -> Tokens:
        """Return the token that generation puts before every answer, if the model has one.

        Args:
            generation: arguments of ``generate``.
        """
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
