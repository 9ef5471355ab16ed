"""From the lines of a log to rows; lines that hold no answer to explain are named, never lost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, overload

from hf_attrib.errors import AttributionWarning, InputError, warn
from hf_attrib.results.logs.engines import llama_server, vllm
from hf_attrib.results.logs.lines import LineError
from hf_attrib.results.logs.row import LogRow
from hf_attrib.results.logs.traces import Traces
from hf_attrib.results.protocol import Told

__all__ = ["Log", "read_log"]

#: What a log is read from.
_Source: TypeAlias = "str | os.PathLike[str] | Iterable[str | bytes | Mapping[str, Any]]"

_FORMATS = ("vllm", "llama-server", "openinference")
#: So many lines that were left out a warning names.
_NAMED = 5
#: So many answers are shown.
_SHOWN = 10


@dataclass(frozen=True)
class Log(Told, Sequence[LogRow]):
    """The answers of a log, in its order, and the lines that could not be read.

    Args:
        rows: the answers.
        skipped: number of each line that was left out, and why.
    """

    rows: tuple[LogRow, ...] = field(repr=False)
    skipped: Mapping[int, str]

    @overload
    def __getitem__(self, index: int) -> LogRow: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[LogRow, ...]: ...

    def __getitem__(self, index: int | slice) -> LogRow | tuple[LogRow, ...]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        left = [f"line {number} left out: {why}" for number, why in self.skipped.items()]
        rows, told = [f"{row}" for row in self.rows[:_SHOWN]], f"{len(self):,} answers"
        if len(self) > len(rows):
            rows.append(f"and {len(self) - len(rows):,} more")
        return "\n".join(["1 answer" if len(self) == 1 else told, *rows, *left])


def read_log(source: _Source, format: str = "auto") -> Log:
    """Read answers that another engine wrote, for ``row.explain(model)`` to explain.

    A line is one JSON object: a response of vLLM's OpenAI-compatible server that was asked with
    ``return_token_ids``, one of llama.cpp's ``/completion`` that was asked with ``return_tokens``,
    either of them alone or under ``"response"`` beside its ``"request"``; or a span of a trace by
    the conventions of OpenInference. Lines that hold no answer to explain, be they torn or without
    ids, are left out: a warning names them, and ``log.skipped`` says why. Spans that are no calls
    of a language model are no answers, and are passed over.

    Args:
        source: a path of a JSONL file, or its lines, or objects that were parsed already.
        format: ``"vllm"``, ``"llama-server"``, ``"openinference"``, or ``"auto"`` to tell each line
            by what it holds.

    Returns:
        a sequence of :class:`LogRow`.

    Raises:
        InputError: the file cannot be read, there is no such format, or no line holds an answer.
    """
    if format not in ("auto", *_FORMATS):
        expected = ", ".join(map(repr, ("auto", *_FORMATS)))
        raise InputError(f"there is no format {format!r:.80}; expected {expected}.")
    traces, rows, skipped = Traces(), list[LogRow](), dict[int, str]()
    for number, line in enumerate(_lines(source), 1):
        try:
            rows += _rows(number, line, format, traces)
        except LineError as error:
            skipped[number] = f"{error}"
    if not rows:
        first = next((f"line {n}: {why}" for n, why in skipped.items()), "there are no lines")
        raise InputError(f"the log holds no answer to explain ({first}).")
    if skipped:
        said = "; ".join(f"line {n}: {why}" for n, why in [*skipped.items()][:_NAMED])
        more = f"; and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        lines = "1 line" if len(skipped) == 1 else f"{len(skipped)} lines"
        warn(AttributionWarning(f"{lines} of the log left out: {said}{more}."))
    return Log(tuple(rows), skipped)


def _lines(source: Any) -> Iterator[Any]:
    """Yield the lines of a log, or what they hold."""
    if isinstance(source, str | os.PathLike):
        try:
            data = Path(source).read_bytes()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(
                f"cannot read {str(source)!r:.80}: {reason}. Give the path of a log, or a list of "
                "its lines."
            ) from None
        yield from data.split(b"\n")
    elif isinstance(source, Iterable) and not isinstance(source, bytes | Mapping):
        try:
            yield from source
        except UnicodeDecodeError as error:  # of a file that was opened as text
            raise InputError(
                f"the lines of the log are not {error.encoding}; give the path, of which lines "
                "that are not UTF-8 are left out, or open it as bytes."
            ) from None
    else:
        raise InputError(
            f"a log is a path, or a list of lines or of what they hold; got {source!r:.80}."
        )


def _rows(number: int, line: Any, format: str, traces: Traces) -> list[LogRow]:
    """Return the answers of one line, none if it is blank or a span of another kind."""
    line = _unmarked(line) if number == 1 else line
    if isinstance(line, str | bytes) and not line.strip():
        return []
    held = _parsed(line)
    if not isinstance(held, Mapping):
        raise LineError(f"it is {held!r:.60}; expected an object")
    response, request = _unwrapped(held)
    found = _format_of(held, response)
    if found is None and "error" in response:
        raise LineError(f"the request failed: {response['error']!r:.80}")
    if found is None or format not in ("auto", found):
        wanted = " or ".join(_FORMATS) if format == "auto" else format
        raise LineError(f"it is no response or span of {wanted}: it holds {_keys(held)}")
    if found == "openinference":
        return list(traces.rows(number, held))
    read = vllm if found == "vllm" else llama_server
    return list(read(number, response, request))


def _unmarked(line: Any) -> Any:
    """Return a first line without the mark of its encoding that some editors begin files with."""
    if isinstance(line, bytes):
        return line.removeprefix(b"\xef\xbb\xbf")
    return line.removeprefix("\ufeff") if isinstance(line, str) else line


def _parsed(line: Any) -> Any:
    if not isinstance(line, str | bytes):
        return line
    try:
        text = line if isinstance(line, str) else line.decode()
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LineError(f"it is no whole JSON ({error})") from None


def _unwrapped(held: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return a response and its request, out of what a log or a batch may put around them."""
    inner = [held.get("response", held), held.get("request", {})]
    bodies = [one.get("body", one) if isinstance(one, Mapping) else {} for one in inner]
    response, request = (one if isinstance(one, Mapping) else {} for one in bodies)
    return response, request


def _format_of(held: Mapping[str, Any], response: Mapping[str, Any]) -> str | None:
    """Tell which engine wrote a line by what it holds."""
    if isinstance(response.get("choices"), list):
        return "vllm"
    if isinstance(response.get("tokens"), list) and "content" in response:
        return "llama-server"
    attributed = ("attributes", "openinference.", "llm.", "retrieval.")
    return "openinference" if any(str(key).startswith(attributed) for key in held) else None


def _keys(held: Mapping[str, Any]) -> str:
    return ", ".join(f"{key!r:.40}" for key in list(held)[:_NAMED]) or "nothing"
