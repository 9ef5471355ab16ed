"""What inference servers write: the ids that they read and wrote, and log-probabilities of these.

- vLLM's OpenAI-compatible server, asked with ``return_token_ids``: ``prompt_token_ids`` beside the
  choices of a chat, or within each choice of a completion, ``token_ids`` in each choice, and
  ``logprobs``. (https://docs.vllm.ai/en/stable/serving/openai_compatible_server.html)
- llama.cpp's server at ``/completion``, asked with ``return_tokens``: ``tokens``, ``prompt`` as
  text with ``tokens_evaluated``, and ``completion_probabilities``.
  (https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hf_attrib.results.logs.lines import (
    LineError,
    id_list,
    listed,
    log_probability,
    mapping,
    text_of,
)
from hf_attrib.results.logs.row import LogRow

__all__ = ["llama_server", "vllm"]

#: How vLLM writes a token that is shown as its id.
_AS_ID = "token_id:"


def vllm(line: int, response: Mapping[str, Any], request: Mapping[str, Any]) -> Iterator[LogRow]:
    """Yield a row for each choice of a response of vLLM.

    Args:
        line: its number in the log.
        response: what the server returned.
        request: what it was asked, if the log holds that.

    Raises:
        LineError: it has no token ids, or they do not fit together.
    """
    if str(response.get("object", "")).endswith(".chunk"):
        raise LineError("it is a part of a streamed response; log whole responses")
    choices = listed(response["choices"])
    if not choices:
        raise LineError("choices is empty, so that there is no answer")
    for number, choice in enumerate(choices):
        choice = mapping(choice, f"choice {number}")
        prompt = choice.get("prompt_token_ids") or response.get("prompt_token_ids")
        if prompt is None or choice.get("token_ids") is None:
            raise LineError(
                "it has no prompt_token_ids or no token_ids; ask vLLM with return_token_ids=true"
            )
        ids = id_list(choice["token_ids"], "token_ids")
        message = choice.get("message")
        text = message.get("content") if isinstance(message, Mapping) else choice.get("text")
        # With echo, the text is the prompt's as well.
        echoed = bool(request.get("echo"))
        yield LogRow(
            line=line,
            source="vllm",
            question={
                "input_ids": id_list(prompt, "prompt_token_ids"),
                "response_ids": ids,
            },
            log_probabilities=_of_choice(choice.get("logprobs"), ids),
            text=None if echoed else text_of(text) or None,
            id=text_of(response.get("id")),
            model=text_of(response.get("model")),
            choice=number,
        )


def _of_choice(given: Any, ids: list[int]) -> tuple[float | None, ...] | None:
    """Return the log-probability of each id, as chats and completions write them."""
    if given is None:
        return None
    given = mapping(given, "logprobs")
    if given.get("content") is not None:
        entries = [mapping(one, "logprobs.content") for one in listed(given["content"])]
        names = [one.get("token") for one in entries]
        numbers = [one.get("logprob") for one in entries]
    else:
        names, numbers = listed(given.get("tokens")), listed(given.get("token_logprobs"))
    if len(numbers) > len(ids) and given.get("content") is None:
        # With echo, those of the prompt stand in front.
        names, numbers = names[-len(ids) :], numbers[-len(ids) :]
    if len(numbers) != len(ids):
        raise LineError(f"logprobs has {len(numbers)} entries for {len(ids)} token_ids")
    written = [_as_id(name) for name in names]
    if any(one not in (None, own) for one, own in zip(written, ids, strict=False)):
        raise LineError("logprobs is of other tokens than token_ids")
    return tuple(log_probability(number, "logprobs") for number in numbers)


def _as_id(name: Any) -> int | None:
    number = name.removeprefix(_AS_ID) if isinstance(name, str) else ""
    return int(number) if number != name and number.isdecimal() and len(number) < 20 else None


def llama_server(
    line: int, response: Mapping[str, Any], request: Mapping[str, Any]
) -> Iterator[LogRow]:
    """Yield the row of a response of llama.cpp's ``/completion``.

    Args:
        line: its number in the log.
        response: what the server returned.
        request: what it was asked, which holds the prompt's ids if these were sent.

    Raises:
        LineError: it has no token ids or no prompt, or what it has does not fit together.
    """
    if not response.get("tokens"):
        raise LineError("tokens is empty; ask llama-server with return_tokens=true")
    if response.get("truncated"):
        raise LineError("the prompt was truncated, so that the log does not say what was read")
    ids = id_list(response["tokens"], "tokens")
    sent = request.get("prompt")
    notes: list[str] = []
    if isinstance(sent, list) and sent and all(type(one) is int for one in sent):
        question: dict[str, Any] = {"input_ids": id_list(sent, "prompt")}
    elif (text := text_of(response.get("prompt"))) or (text := text_of(sent)):
        question = {"prompt": text}
        notes.append(
            "The log holds the prompt as text, which was tokenised here; the answer is its ids."
        )
    else:
        raise LineError("it has no prompt; log the request beside the response")
    evaluated = response.get("tokens_evaluated")
    numbers = _of_tokens(response.get("completion_probabilities"), ids)
    if numbers is None and response.get("completion_probabilities"):
        notes.append(
            "The log holds probabilities after sampling (post_sampling_probs), which are no "
            "model's own and were left out."
        )
    yield LogRow(
        line=line,
        source="llama-server",
        question=question | {"response_ids": ids},
        log_probabilities=numbers,
        text=text_of(response.get("content")) or None,
        model=text_of(response.get("model")),
        prompt_tokens=evaluated if type(evaluated) is int and evaluated > 0 else None,
        notes=tuple(notes),
    )


def _of_tokens(given: Any, ids: Sequence[int]) -> tuple[float | None, ...] | None:
    """Return the log-probability of each id; the server has none of parts of characters.

    ``None`` where the log holds none, or those after sampling.
    """
    entries = [mapping(one, "completion_probabilities") for one in listed(given)]
    if not entries or any("logprob" not in one for one in entries):
        return None
    found: list[float | None] = []
    rest = iter(entries)
    entry = next(rest, None)
    for token in ids:
        if entry is not None and entry.get("id") == token:
            found.append(log_probability(entry["logprob"], "completion_probabilities"))
            entry = next(rest, None)
        else:
            found.append(None)
    if entry is not None:
        raise LineError("completion_probabilities is of other tokens than tokens")
    return tuple(found)
