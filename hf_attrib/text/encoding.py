"""Tokenise prompts once, and tell what each token is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import Match, SequenceMatcher
from itertools import chain, groupby, takewhile
from typing import Any

import torch

from hf_attrib.errors import InputError
from hf_attrib.text import chat
from hf_attrib.text.documents import Documents
from hf_attrib.text.placement import laid_out, placed
from hf_attrib.text.tokens import Segment, Tokens, detokenize

__all__ = ["check_text", "encode_prompt", "encode_response", "settings_kept", "wrap"]


def encode_prompt(
    tokenizer: Any,
    prompt: str | chat.Messages,
    template_options: Mapping[str, Any],
    special: set[int],
    documents: Documents | None = None,
) -> Tokens:
    """Tokenise a text, or messages through the chat template, and tell the tokens' roles.

    Args:
        tokenizer: the tokenizer.
        prompt: a text or messages.
        template_options: further arguments of the chat template.
        special: ids that carry no content.
        documents: that come with the prompt.

    Raises:
        InputError: no tokenizer, an empty prompt, or messages that cannot be rendered.
    """
    if tokenizer is None:
        raise InputError("a text prompt needs a tokenizer; give one, or pass input_ids.")
    if isinstance(prompt, Mapping) and "input_ids" in prompt:
        raise InputError(
            "the prompt is what a tokenizer returned; give it by name, as explain(**tokens), or as "
            "the text itself."
        )
    if not isinstance(prompt, Sequence) or isinstance(prompt, bytes):
        raise InputError(f"a prompt is a text or a list of messages; got {prompt!r:.80}.")
    rendered = _rendered(tokenizer, prompt, template_options, documents)
    text, parts = rendered.text, rendered.parts
    encoding = tokenizer(
        text,
        add_special_tokens=isinstance(prompt, str),  # a template has written them
        return_offsets_mapping=bool(tokenizer.is_fast),
    )
    ids = [int(i) for i in encoding["input_ids"]]
    if not ids or not text:
        raise InputError("the prompt is empty; give at least one token to explain.")
    pieces, offsets, decoded = detokenize(tokenizer, ids)
    if tokenizer.is_fast:
        given = [(int(a), int(b)) for a, b in encoding["offset_mapping"]]
        offsets = _share(offsets, _tell_apart(given, text, offsets, decoded))
    else:
        parts = _moved(parts, text, decoded)
        text = decoded
    if isinstance(prompt, str) and documents is None:
        parts = (chat.Part(0, len(text), "prompt"),)
    origins, astride = _origins(offsets, parts, text)
    return Tokens(
        torch.tensor(ids),
        tuple(pieces),
        _roles(ids, origins, special),
        tuple(offsets),
        text,
        _segments(origins),
        (*rendered.notes, *_lost(parts, origins, astride)),
        () if documents is None else documents.each,
    )


def _rendered(
    tokenizer: Any,
    prompt: str | chat.Messages,
    template_options: Mapping[str, Any],
    documents: Documents | None,
) -> chat.Rendered:
    """Return a prompt as it is tokenised, with what its characters come from."""
    if isinstance(prompt, str) and template_options:
        raise InputError("template_options go with messages; the prompt is a text.")
    check_text(prompt)
    check_text(template_options)
    if documents is not None:
        check_text([*(form.content for form in documents.given), documents.template])
        if isinstance(prompt, str):
            return laid_out(prompt, documents)
        return placed(tokenizer, prompt, template_options, documents)
    if isinstance(prompt, str):
        return chat.Rendered(prompt, (), ())
    return chat.render(tokenizer, prompt, template_options)


@contextmanager
def settings_kept(tokenizer: Any) -> Iterator[None]:
    """Leave a tokenizer's settings of padding and truncation as they are, whatever is tokenised.

    Fast tokenizers keep those that somebody turned on, and each call sets its own.

    Args:
        tokenizer: fast, slow or ``None``.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    kept = [getattr(backend, name, None) for name in ("padding", "truncation")]
    try:
        yield
    finally:
        for name, own in zip(("padding", "truncation"), kept, strict=True):
            if getattr(backend, name, None) != own:
                if own is None:
                    getattr(backend, f"no_{name}")()
                else:
                    getattr(backend, f"enable_{name}")(**own)


def check_text(given: Any) -> None:
    """Refuse text that no tokenizer can read.

    Args:
        given: a text, or what holds some: messages, documents, names of groups.

    Raises:
        InputError: it holds half of a surrogate pair.
    """
    if isinstance(given, str):
        try:
            given.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"the text is no valid Unicode at character {error.start}: {given!a:.80} has "
                "half of a surrogate pair there; give the whole character, or leave it out."
            ) from None
    elif isinstance(given, Mapping):
        for name, inner in given.items():
            check_text(name)
            check_text(inner)
    elif isinstance(given, list | tuple | set | frozenset):
        for inner in given:
            check_text(inner)


def encode_response(
    tokenizer: Any, response: str, special: set[int], prompt: Tokens | None, name: str = "response"
) -> tuple[Tokens, tuple[str, ...]]:
    """Tokenise a response as the continuation it is, without special tokens.

    Args:
        tokenizer: the tokenizer.
        response: a text.
        special: ids that carry no content.
        prompt: that the response follows in one text, or ``None`` if it begins a text of its own.
        name: what it is called.

    Returns:
        the tokens, and a note if they do not read as the text that was given.

    Raises:
        InputError: no tokenizer, or an empty response.
    """
    if not isinstance(response, str):
        raise InputError(f"a response is a text; got {response!r:.80}.")
    if tokenizer is None:
        raise InputError(f"a {name} text needs a tokenizer; give one, or pass its ids.")
    check_text(response)
    behind = () if prompt is None else prompt.ids.tolist()
    together = [] if prompt is None else _rest(tokenizer, prompt, response)
    # Lazily: as a rule the first of them reads as the text does.
    candidates = chain([together], _alone(tokenizer, response))
    read: list[Tokens] = []
    for ids in filter(None, candidates):
        read.append(wrap(tokenizer, ids, "generated", special, behind))
        if read[-1].text == response:
            break
    if not read:
        raise InputError(f"the {name} is empty; give at least one token to explain.")
    # Some tokenizers cannot begin a text without a space.
    same = (tokens for tokens in read if tokens.text.strip() == response.strip())
    found = read[-1] if read[-1].text == response else next(same, read[0])
    return found, tuple(_reservations(found, response, prompt, name))


def _rest(tokenizer: Any, prompt: Tokens, response: str) -> list[int]:
    """Return what prompt and response, tokenised as one text, have behind the prompt's tokens.

    That is nothing where tokens reach over the boundary.
    """
    own = prompt.ids.tolist()
    for add_special in (True, False):
        whole = _ids(tokenizer(prompt.text + response, add_special_tokens=add_special))
        if whole[: len(own)] == own:
            return whole[len(own) :]
    return []


def _alone(tokenizer: Any, response: str) -> Iterator[list[int]]:
    """Yield the tokens of a response alone, and those that it has behind the end of a line.

    SentencePiece puts a space before a text, which does not stand behind a prompt.
    """
    yield _ids(tokenizer(text_target=response, add_special_tokens=False))
    line, both = (
        _ids(tokenizer(text, add_special_tokens=False)) for text in ("\n", f"\n{response}")
    )
    if both[: len(line)] == line:
        yield both[len(line) :]


def _ids(encoding: Any) -> list[int]:
    return [int(i) for i in encoding["input_ids"]]


def _reservations(found: Tokens, response: str, prompt: Tokens | None, name: str) -> list[str]:
    """Say what keeps a response from being the answer that the caller may mean."""
    notes, ids = [], "response_ids" if name == "response" else "ids"
    if "\ufffd" in response:
        notes.append(
            f"The {name} holds U+FFFD, which stands for bytes that are no character; if a model "
            f"wrote it, give its {ids}."
        )
    elif found.text.strip() != response.strip():
        notes.append(
            f"The tokens of the {name} read {found.text[:40]!r}, not {response[:40]!r}; if a "
            f"model wrote it, give its {ids}."
        )
    if prompt is not None and prompt.text.strip() and response.startswith(prompt.text):
        notes.append(
            f"The {name} begins with the prompt's own text, which was explained as part of the "
            "answer; if it is not, cut it off."
        )
    return notes


def wrap(
    tokenizer: Any, ids: Sequence[int], role: str, special: set[int], behind: Sequence[int] = ()
) -> Tokens:
    """Give token ids their text, and one role but for special tokens.

    Args:
        tokenizer: the tokenizer, or ``None``.
        ids: token ids.
        role: of each.
        special: ids that carry no content.
        behind: ids that they follow in one text, which decides on the space before them.
    """
    pieces, offsets, text = detokenize(tokenizer, ids, behind)
    roles = tuple("special" if i in special else role for i in ids)
    wrapped = torch.tensor(ids, dtype=torch.int64)
    return Tokens(wrapped, tuple(pieces), roles, tuple(offsets), text)


def _origins(
    offsets: Sequence[tuple[int, int]], parts: Sequence[chat.Part], text: str
) -> tuple[list[chat.Part | None], int]:
    """Return the part that each token's characters overlap, or nothing for the template's.

    White space belongs to the word that a token holds with it, as it does in groups.

    Args:
        offsets: of the tokens.
        parts: as they follow in the text, none within another.
        text: that both are ranges of.

    Returns:
        the parts, and how many tokens reach over the border of one that is taken whole.
    """
    stops = [part.stop for part in parts]
    found: list[chat.Part | None] = []
    astride = 0
    for start, end in offsets:
        at = bisect_right(stops, start)  # the first part that ends behind it
        over = list(takewhile(lambda part, end=end: part.start < end, parts[at:]))  # type: ignore[misc]
        beyond = "".join(text[start : p.start] + text[max(start, p.stop) : end] for p in over)
        cut = any(p.whole for p in over) and (len(over) > 1 or bool(beyond.strip()))
        astride += cut
        found.append(over[0] if over and not cut else None)
    return found, astride


def _lost(
    parts: Sequence[chat.Part], origins: Sequence[chat.Part | None], astride: int
) -> list[str]:
    """Say which tokens are no part's since they reach beyond it, and which parts have no others."""
    notes = []
    if astride:
        s, count = ("s reach", "count") if astride > 1 else (" reaches", "counts")
        notes.append(
            f"{astride} token{s} over the border of a document, and {count} as the template's."
        )
    held = {id(part) for part in origins}
    lost = [p.segment[1] for p in parts if p.whole and p.segment and id(p) not in held]
    return notes + [f"{n.capitalize()} has no token of its own, so it is not scored." for n in lost]


def _moved(parts: Sequence[chat.Part], text: str, decoded: str) -> tuple[chat.Part, ...]:
    """Return where parts of a text are in what its tokens decode to.

    Tokenizers that tell no offsets may change case, spaces or characters that they do not know.
    """
    if text == decoded or not parts:
        return tuple(parts)
    same = SequenceMatcher(None, text, decoded, autojunk=False).get_matching_blocks()

    def place(at: int) -> int:
        block = max((b for b in same if b.a <= at), key=lambda b: b.a, default=Match(0, 0, 0))
        return min(block.b + at - block.a, len(decoded))

    moved = [replace(part, start=place(part.start), stop=place(part.stop)) for part in parts]
    return tuple(part for part in moved if part.start < part.stop)


def _roles(
    ids: Sequence[int], origins: Sequence[chat.Part | None], special: set[int]
) -> tuple[str, ...]:
    """Tell each token by where it comes from; what comes from no part is template."""
    return tuple(
        "special" if token in special else "template" if part is None else part.role
        for token, part in zip(ids, origins, strict=True)
    )


def _segments(origins: Sequence[chat.Part | None]) -> tuple[Segment, ...]:
    """Return a segment for each run of tokens of one message, and of what has another kind."""
    found: list[Segment] = []
    parents: dict[int, int] = {}  # which segment each token lies in
    for start, stop, turn in _runs([None if p is None else p.turn for p in origins]):
        parents |= dict.fromkeys(range(start, stop), len(found))
        found.append(Segment(start, stop, "turn", turn))
    inner = [None if p is None or p.segment is None else (p.turn, p.segment) for p in origins]
    for start, stop, (_, (kind, name)) in _runs(inner):
        found.append(Segment(start, stop, kind, name, parents.get(start)))
    return tuple(found)


def _runs(owners: Sequence[Any]) -> Iterator[tuple[int, int, Any]]:
    """Yield the stretches of tokens that have one owner."""
    start = 0
    for owner, run in groupby(owners):
        stop = start + len(list(run))
        if owner is not None:
            yield start, stop, owner
        start = stop


def _tell_apart(
    given: Sequence[tuple[int, int]],
    text: str,
    own: Sequence[tuple[int, int]],
    decoded: str,
) -> list[tuple[int, int]]:
    """Give characters their own ranges where a tokenizer gave one to several.

    SentencePiece's Unigram, as the tokenizers library has it, does so where neighbouring
    characters all fall back to bytes.
    """
    ranges: list[tuple[int, int]] = []
    for (start, stop), run in groupby(zip(given, own, strict=True), key=lambda pair: pair[0]):
        extents = [extent for _, extent in run]
        first, last = extents[0][0], extents[-1][1]
        same = decoded[first:last] == text[start:stop] and all(a < b for a, b in extents)
        ranges += [
            (a - first + start, b - first + start) if same else (start, stop) for a, b in extents
        ]
    return ranges


def _share(
    groups: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Give tokens that are bytes of one character (equal in ``groups``) one common range."""
    union: dict[tuple[int, int], tuple[int, int]] = {}
    for group, (a, b) in zip(groups, offsets, strict=True):
        low, high = union.get(group, (a, b))
        union[group] = (min(low, a), max(high, b))
    # Tokens that add no text share an empty range by chance; they keep their own.
    return [
        union[group] if group[0] < group[1] else own
        for group, own in zip(groups, offsets, strict=True)
    ]
