"""Answers of other engines: their ids run as they are, and what cannot be read is named."""

import json
import math
import warnings

import pytest
import torch
from helpers import tiny

import hf_attrib
from hf_attrib import AttributionWarning, Explainer, InputError, read_log

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
ANSWER = " Bob's key is blue."
QUICK = {"method": "occlusion", "groups": "sentence"}


@pytest.fixture(scope="module")
def explainer():
    return Explainer(*hf_attrib.embedded.load("keys-llama"))


@pytest.fixture(scope="module")
def ran(explainer):
    """Ids of the prompt and of the answer, and the log-probability of each of these."""
    tokenizer = explainer.tokenizer
    prompt = tokenizer(PROMPT)["input_ids"]
    answer = [*tokenizer(ANSWER, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    with torch.no_grad():
        logits = explainer.model(torch.tensor([prompt + answer])).logits[0].double()
    table = logits.log_softmax(-1)[len(prompt) - 1 : -1]
    return prompt, answer, table[range(len(answer)), answer].tolist()


def chat(ran, off=0.0):
    """As vLLM answers /v1/chat/completions."""
    prompt, answer, log_probs = ran
    content = [{"token": "x", "logprob": p - off, "bytes": None} for p in log_probs]
    choice = {"index": 0, "message": {"role": "assistant", "content": ANSWER}}
    choice |= {"token_ids": answer, "logprobs": {"content": content}, "finish_reason": "stop"}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "model": "keys"}
    return head | {"prompt_token_ids": prompt, "choices": [choice]}


def completion(ran, **logprobs):
    """As vLLM answers /v1/completions."""
    prompt, answer, log_probs = ran
    named = {"tokens": [f"token_id:{i}" for i in answer], "token_logprobs": log_probs} | logprobs
    choice = {"index": 0, "text": ANSWER, "prompt_token_ids": prompt, "token_ids": answer}
    return {"object": "text_completion", "choices": [choice | {"logprobs": named}]}


def llama(ran, **more):
    """As llama-server answers /completion."""
    prompt, answer, log_probs = ran
    entries = [{"id": i, "token": "", "logprob": p} for i, p in zip(answer, log_probs, strict=True)]
    told = {"content": ANSWER, "tokens": answer, "prompt": f"<s>{PROMPT}"}
    return told | {"tokens_evaluated": len(prompt), "completion_probabilities": entries} | more


def span(kind, attributes, trace="t", **more):
    named = {"openinference.span.kind": kind} | attributes
    return {"context": {"trace_id": trace, "span_id": "s"}, "attributes": named} | more


RETRIEVED = {
    "retrieval.documents.0.document.content": "Ada's key is red.",
    "retrieval.documents.0.document.id": "a",
    "retrieval.documents.0.document.score": 0.5,
    "retrieval.documents.1.document.content": "Bob's key is blue. ",
    "retrieval.documents.1.document.metadata": '{"source": "facts.txt"}',
}


def llm(question):
    return {
        "llm.model_name": "keys",
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": question,
        "llm.output_messages.0.message.role": "assistant",
        "llm.output_messages.0.message.content": "Bob's key is blue.",
    }


LINES = {
    "chat of vLLM": chat,
    "completion of vLLM": completion,
    "with echo": lambda ran: completion(
        ran,
        tokens=[f"token_id:{i}" for i in ran[0] + ran[1]],
        token_logprobs=[None, *[-1.0] * (len(ran[0]) - 1), *ran[2]],
    ),
    "in a batch": lambda ran: {"custom_id": "1", "response": {"body": chat(ran)}},
    "llama-server": llama,
    "llama-server, ids sent": lambda ran: {
        "request": {"prompt": ran[0]}, "response": llama(ran, prompt=PROMPT)
    },
}  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_ids_in_are_ids_out_and_log_probabilities_agree(explainer, ran, line, monkeypatch):
    (row,) = read_log([json.dumps(LINES[line](ran))])
    prompt, answer, log_probs = ran
    result = row.explain(explainer, **QUICK)
    assert result.response_ids.tolist() == answer
    assert result.input_ids.tolist() == prompt
    found = row.compare(result)
    assert found.logged == pytest.approx(tuple(log_probs))
    assert found.max < 1e-5
    assert found.compared == len(answer)


def test_ids_that_no_text_gives_stay_as_they_are():
    """Two tokens where the tokenizer would make one, and a byte that is no character."""
    model, tokenizer = tiny.shared("llama"), tiny.tokenizer()
    prompt = [tiny.BOS, *tokenizer.convert_tokens_to_ids(["A", "d", "a", "'s"])]
    answer = tokenizer.convert_tokens_to_ids(["Ġ", "r", "e", "d", "ð"])
    response = {
        "choices": [{"prompt_token_ids": prompt, "token_ids": answer, "text": " red\ufffd"}]
    }
    (row,) = read_log([response])
    result = row.explain(Explainer(model, tokenizer), method="saliency")
    assert result.input_ids.tolist() == prompt
    assert result.response_ids.tolist() == answer
    without = Explainer(model)
    assert row.explain(without, method="saliency").response_ids.tolist() == answer


def test_differences_are_told_by_token(explainer, ran):
    line = chat(ran)
    line["choices"][0]["logprobs"]["content"][3]["logprob"] -= 0.5
    line["choices"][0]["logprobs"]["content"][5]["logprob"] = None
    (row,) = read_log([line])
    result = row.explain(explainer, **QUICK)
    found = row.compare(result)
    assert found.max == pytest.approx(0.5, abs=1e-5)
    assert found.mean == pytest.approx(0.5 / 6, abs=1e-5)
    assert found.worst == 3
    assert "' is', row 3" in str(found)
    assert "of 6; the log has none of 1 more" in str(found)
    rows = found.to_rows()
    assert rows[5]["difference"] is None
    assert rows[3]["difference"] == pytest.approx(0.5, abs=1e-5)
    json.dumps(rows, allow_nan=False)
    # Rows that were joined hold the sum of theirs.
    joined = row.compare(result.group(response={"start": (0, 4)}))
    assert joined.logged[0] == pytest.approx(math.fsum(ran[2][:4]) - 0.5)
    assert joined.worst == 0
    assert row.compare(result["is"]).max == pytest.approx(0.5, abs=1e-5)


def test_characters_in_parts_have_no_log_probability(explainer, ran):
    entries = llama(ran)["completion_probabilities"]
    (row,) = read_log([llama(ran, completion_probabilities=entries[:2] + entries[3:])])
    assert row.log_probabilities[2] is None
    assert row.log_probabilities[3] == pytest.approx(ran[2][3])


def test_probabilities_after_sampling_are_left_out(explainer, ran):
    (row,) = read_log([llama(ran, completion_probabilities=[{"id": i, "prob": 1} for i in ran[1]])])
    assert row.log_probabilities is None
    result = row.explain(explainer, **QUICK)
    assert any("after sampling" in note for note in result.notes)
    assert any("prompt as text" in note for note in result.notes)
    with pytest.raises(InputError, match=r"line 1 of the log holds no log-probabilities; ask"):
        row.compare(result)


def test_traces_bring_documents_and_say_that_ids_were_made_here(explainer, tmp_path):
    question = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key?"
    lines = [span("RETRIEVER", RETRIEVED), span("LLM", llm(question)), span("CHAIN", {})]
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    (row,) = read_log(path)
    first, second = row.documents
    assert (first.id, first.score, second.source) == ("a", 0.5, "facts.txt")
    assert "documents" not in row.question  # the messages hold them already
    result = row.explain(explainer, method="occlusion")
    assert {"document 1", "document 2"} <= set(result.pieces)
    assert result.inputs.text.count("Bob's key is blue.") == 1
    assert any("tokenised here" in note for note in result.notes)
    result.save(tmp_path / "result.json")
    assert hf_attrib.load(tmp_path / "result.json").notes == result.notes


def test_nested_and_flat_traces_are_the_same():
    messages = [{"message": {"role": "user", "content": "Hi"}}]
    parts = [{"message_content": {"type": "text", "text": "Hi"}}]
    answer = [{"message.role": "assistant", "message.content": "Ho"}]
    flat = {"llm.input_messages.0.message.role": "user"}
    flat |= {"llm.input_messages.0.message.content": "Hi"}
    flat |= {"llm.output_messages.0.message.role": "assistant"}
    flat |= {"llm.output_messages.0.message.content": "Ho"}
    several = [
        flat,
        {"attributes": {"llm": {"input_messages": messages, "output_messages": answer}}},
        {"attributes.llm.input_messages": messages, "attributes.llm.output_messages": answer},
        {"attributes": flat | {"llm.input_messages.0.message.contents": parts}},
    ]
    questions = [row.question for row in read_log(several)]
    assert questions == [{"prompt": [{"role": "user", "content": "Hi"}], "response": "Ho"}] * 4


def test_documents_that_no_message_holds_are_placed():
    asked = span("LLM", llm("Q: What color is Bob's key?"))
    other = span("LLM", llm("Q: What color is Bob's key?"), trace="u")
    log = read_log([span("RETRIEVER", RETRIEVED), asked, other])
    assert [d["text"] for d in log[0].question["documents"]] == [
        "Ada's key is red.", "Bob's key is blue. ",
    ]  # fmt: skip
    assert log[0].question["documents"][0] == {"text": "Ada's key is red.", "id": "a", "score": 0.5}
    assert "None of the 2 documents" in log[0].notes[1]
    assert log[1].documents == ()
    half = read_log([span("RETRIEVER", RETRIEVED), span("LLM", llm("Ada's key is red. Q: ?"))])[0]
    assert half.question["groups"] == {"document 1": "Ada's key is red."}
    assert "document 2 of the trace: not in its messages" in half.notes[1]


ODD = {
    "torn": ('{"choices": [{"tok', "no whole JSON"),
    "no text": (b"\xff", "no whole JSON"),
    "a number": ("3", "it is 3; expected an object"),
    "null": ("null", "it is None; expected an object"),
    "nothing": (None, "it is None; expected an object"),
    "no ids": ({"choices": [{"text": "a"}]}, "return_token_ids=true"),
    "no choice": ({"choices": []}, "choices is empty"),
    "a chunk": ({"object": "text_completion.chunk", "choices": [{}]}, "part of a streamed"),
    "failed": ({"error": {"message": "no"}}, "the request failed"),
    "other things": ({"foo": 1}, "no response or span of vllm or llama-server or openinference"),
    "llama without ids": ({"content": "a", "tokens": []}, "return_tokens=true"),
    "no prompt": ({"content": "a", "tokens": [1]}, "it has no prompt"),
    "cut prompt": ({"content": "a", "tokens": [1], "truncated": True}, "truncated"),
    "negative": ({"choices": [{"prompt_token_ids": [1], "token_ids": [-1]}]}, "token ids"),
    "positive": (
        {"choices": [{"prompt_token_ids": [1], "token_ids": [1],
                      "logprobs": {"tokens": ["a"], "token_logprobs": [0.5]}}]},
        "expected log-probabilities, at most 0",
    ),
    "other count": (
        {"choices": [{"prompt_token_ids": [1], "token_ids": [1, 2],
                      "logprobs": {"content": [{"logprob": -1}]}}]},
        "1 entries for 2 token_ids",
    ),
    "other tokens": (
        {"choices": [{"prompt_token_ids": [1], "token_ids": [1],
                      "logprobs": {"tokens": ["token_id:2"], "token_logprobs": [-1]}}]},
        "other tokens than token_ids",
    ),
    "no float": (
        {"choices": [{"prompt_token_ids": [1], "token_ids": [1],
                      "logprobs": {"tokens": ["a"], "token_logprobs": [-(10**400)]}}]},
        "expected log-probabilities, at most 0",
    ),
    "a long number": (
        span("LLM", {f"llm.input_messages.{'9' * 5000}.message.role": "user"}), "there are no llm."
    ),
    "other tokens of llama-server": (
        {"content": "a", "tokens": [1], "prompt": "a",
         "completion_probabilities": [{"id": 2, "logprob": -1}]},
        "other tokens than tokens",
    ),
    "no answer": (span("LLM", {"llm.input_messages.0.message.role": "user"}), "no role or no text"),
    "calls": (
        span("LLM", {"llm.input_messages.0.message.tool_calls.0.tool_call.id": "1"}), "calls tools"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ODD)
def test_odd_lines_are_left_out_by_number_and_reason(ran, case):
    line, reason = ODD[case]
    with pytest.warns(AttributionWarning, match=r"^1 line of the log left out: line 3: ") as caught:
        log = read_log([chat(ran), "", line, chat(ran)])
    assert reason in str(caught[0].message)
    assert [row.line for row in log] == [1, 4]
    assert list(log.skipped) == [3]
    with pytest.raises(InputError, match=r"no answer to explain \(line 1: "):
        read_log([line])


def test_names_of_tokens_are_numbers_that_ids_could_be(ran):
    line = chat(ran)
    names = line["choices"][0]["logprobs"]["content"]
    line["choices"][0]["logprobs"]["content"] = [
        each | {"token": f"token_id:{'9' * 5000}"} for each in names
    ]
    assert len(read_log([line])) == 1  # which is the name of no id


def test_keys_of_objects_that_are_no_text_are_no_places(ran):
    given = {"content": "a", "tokens": [1], "prompt": "a", "completion_probabilities": {0: {}}}
    assert len(read_log([given])) == 1


@pytest.mark.parametrize("mark", ["\ufeff", "\ufeff\r\n"])
@pytest.mark.parametrize("kind", [str, str.encode])
def test_a_mark_of_the_encoding_costs_no_line(ran, tmp_path, mark, kind):
    text = f"{mark}{json.dumps(chat(ran))}\r\n"
    (tmp_path / "log.jsonl").write_bytes(text.encode())
    for source in (tmp_path / "log.jsonl", [kind(line) for line in text.split("\n")]):
        log = read_log(source)
        assert (len(log), dict(log.skipped)) == (1, {})


def test_files_that_were_opened_are_read_as_far_as_they_are_text(ran, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\xff\n" + json.dumps(chat(ran)).encode())
    with path.open("rb") as file, pytest.warns(AttributionWarning, match="line 1: it is no whole"):
        assert [row.line for row in read_log(file)] == [2]
    with (
        path.open(encoding="utf-8") as file,
        pytest.raises(InputError, match="are not utf-8; give the path"),
    ):
        read_log(file)


def test_documents_that_overlap_are_one_group_and_the_others_are_named(explainer):
    texts = ["Ada's key is red. Bob's key is blue.", "Bob's key is blue.", "Q: What color"]
    documents = {f"retrieval.documents.{i}.document.content": text for i, text in enumerate(texts)}
    (row,) = read_log([span("RETRIEVER", documents), span("LLM", llm(PROMPT))])
    assert list(row.question["groups"].values()) == [texts[0], texts[2]]
    assert any(note.startswith("document 2 of the trace") for note in row.notes)
    assert {"document 1", "document 3"} < set(row.explain(explainer, method="occlusion").pieces)


def test_ids_beyond_all_vocabularies_are_refused(explainer):
    line = {"choices": [{"token_ids": [2**63 - 1], "prompt_token_ids": [1]}]}
    (row,) = read_log([line])
    with pytest.raises(InputError, match="which is in no vocabulary"):
        row.explain(explainer)


def test_logs_that_are_none(ran, tmp_path):
    with pytest.raises(InputError, match="cannot read 'nowhere': No such file"):
        read_log("nowhere")
    with pytest.raises(InputError, match="a log is a path, or a list of lines"):
        read_log(chat(ran))
    with pytest.raises(InputError, match=r"there is no format 'tgi'; expected 'auto', 'vllm'"):
        read_log([chat(ran)], format="tgi")
    with pytest.raises(InputError, match="no response or span of llama-server"):
        read_log([chat(ran)], format="llama-server")
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"\xef\xbb\xbf\n")
    with pytest.raises(InputError, match="there are no lines"):
        read_log(empty)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_log([chat(ran)], format="vllm")) == 1


def test_other_vocabularies_and_other_results_are_refused(explainer, ran):
    prompt, answer, _ = ran
    beyond, other = chat(ran), chat(ran)
    beyond["choices"][0]["token_ids"] = [5000, *answer[1:]]
    other["choices"][0]["token_ids"] = [answer[0] + 1, *answer[1:]]
    log = read_log([beyond, other, llama(ran, tokens_evaluated=99), chat(ran)])
    with pytest.raises(InputError, match=r"^line 1 of the log: .*5000, but LlamaForCausalLM has"):
        log[0].explain(explainer)
    with pytest.raises(InputError, match=r"^line 2 of the log: its ids read .*the vocabulary is"):
        log[1].explain(explainer)
    with pytest.raises(InputError, match=r"^line 3 of the log: the engine read 99 tokens"):
        log[2].explain(explainer)
    with pytest.raises(InputError, match="expected an Explainer or an attached model; got int"):
        log[3].explain(3)
    elsewhere = explainer.explain(input_ids=prompt, response_ids=answer[:2], **QUICK)
    with pytest.raises(InputError, match="it explains other ids than those that are logged"):
        log[3].compare(elsewhere)
    with pytest.raises(InputError, match="returned; got NoneType"):
        log[3].compare(None)


def test_each_choice_is_a_row(ran):
    line = chat(ran)
    line["choices"] *= 2
    assert [row.choice for row in read_log([line])] == [0, 1]
