"""Text from a model or a document is data: whatever could steer a terminal is made visible."""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len

__all__ = ["flowing", "framed", "label", "visible"]

_ZERO_WIDTH_JOINER = "\u200d"
_EMOJI_MODIFIERS = "\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
_VARIATION_SELECTORS = frozenset(map(chr, range(0xE0100, 0xE01F0)))  # carry hidden text
#: Letters and marks that Unicode lets be drawn as nothing at all.
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0") | _VARIATION_SELECTORS
_UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def visible(text: str) -> str:
    r"""Replace control, bidirectional, invisible and surrogate characters by visible stand-ins.

    Args:
        text: any text; newlines and tabs are kept.

    >>> visible("\x1b[31m \u202e")
    '␛[31m ⟨U+202E⟩'
    """
    return "".join(_stand_in(text, i) for i in range(len(text)))


def label(piece: str) -> str:
    r"""Show a token on its own, on one line.

    Args:
        piece: the token's text.

    >>> label(" two\n"), label("  "), label("")
    ('two⏎', '␣␣', '∅')
    """
    text = visible(piece).replace("\n", "⏎").replace("\t", "⇥")
    return _drawn(text.strip() or _boxed_spaces(text))


def flowing(piece: str, *, marked: bool) -> str:
    r"""Show a token within running text, where its newlines break the line.

    Args:
        piece: the token's text.
        marked: whether the token is singled out, so that even a space must be seen.

    >>> flowing("\n", marked=False), flowing(".\n", marked=False), flowing(" ", marked=True)
    ('⏎\n', '.\n', '␣')
    """
    text = visible(piece).replace("\t", "⇥   ")
    if text and not text.strip("\n"):
        return text.replace("\n", "⏎\n")
    return _drawn(_boxed_spaces(text) if marked and not text.strip() else text)


def framed(piece: str, *, marked: bool) -> tuple[str, str, str]:
    r"""Split a token within running text into space, what takes its colour, and space.

    The spaces of a word would run into the colours of its neighbours. Of white space alone one sign
    takes the colour, however wide or high it is.

    Args:
        piece: the token's text.
        marked: as for :func:`flowing`.

    >>> framed(" two\n", marked=False), framed("\n\n", marked=True), framed("   ", marked=True)
    ((' ', 'two', '\n'), ('', '⏎', '\n\n'), ('', '␣', '  '))
    """
    shown = flowing(piece, marked=False)
    if not piece or piece.strip():
        body = shown.strip() or shown
    elif "\n" in piece:
        before, _, after = visible(piece).replace("\t", "⇥   ").partition("\n")
        return before, "⏎", f"\n{after}"
    elif "\t" in piece:
        body = "⇥"
    else:
        return "", "␣" if marked else shown[:1], shown[1:]
    before, _, after = shown.partition(body)
    return before, body, after


def _boxed_spaces(text: str) -> str:
    return "".join("␣" if c.isspace() and c != "\n" else c for c in text)


def _stand_in(text: str, i: int) -> str:
    character = text[i]
    if character in "\n\t" or (character.isascii() and character.isprintable()):
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # Unicode's own pictures of control characters
    if code == 0x7F:
        return "␡"
    if character == _ZERO_WIDTH_JOINER and _joins_emoji(text, i):
        return character
    unsafe = unicodedata.category(character) in _UNSAFE or character in _BLANK
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return f"⟨U+{code:04X}⟩" if unsafe or noncharacter else character


def _joins_emoji(text: str, i: int) -> bool:
    """Whether a joiner stands between two pictures, as in a family emoji."""
    before = text[max(0, i - 3) : i].rstrip(_EMOJI_MODIFIERS)[-1:]
    return all(c and unicodedata.category(c) == "So" for c in (before, text[i + 1 : i + 2]))


def _drawn(text: str) -> str:
    """Give text that would take no room (nothing, or a lone accent) something to stand on."""
    if cell_len(text):
        return text
    return f"◌{text}" if text else "∅"
