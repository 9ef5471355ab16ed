"""The ids that ran are the ids explained, and every token knows its text and its role."""

import json
import pickle

import numpy as np
import pytest
import torch
from helpers import families, tiny

import hf_attrib
from hf_attrib import Explainer, InputError
from hf_attrib.methods import IntegratedGradients
from hf_attrib.model import Transcriber
from hf_attrib.text import Request, Tokens, detokenize
from hf_attrib.text.chat import render

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")

TEXTS = [
    "the key is red",
    "naïve café",
    "日本語 と 中文",
    "emoji 🙂👩‍👩‍👧 end",
    "\x1b[31mred\x1b[0m [bold]x[/]",
    " leading and trailing  ",
    "line\nbreak\ttab",
    "\u202eright to left\u202c",
]


@pytest.mark.parametrize("text", TEXTS)
def test_ids_in_are_ids_out(text):
    model, tokenizer = tiny.shared("llama"), tiny.tokenizer()
    ids = tokenizer(text).input_ids
    written = model.generate(torch.tensor([ids]), max_new_tokens=6)[0, len(ids) :].tolist()
    found = Explainer(model, tokenizer).explain(
        text, max_new_tokens=6, method="integrated_gradients", steps=2
    )
    assert found.input_ids.tolist() == ids
    assert found.response_ids.tolist() == written
    again = Explainer(model, tokenizer).explain(
        input_ids=ids, response_ids=torch.tensor([written]), method="integrated_gradients", steps=2
    )
    assert again.input_ids.tolist() == ids
    assert again.response_ids.tolist() == written
    assert torch.equal(again.scores, found.scores)


@pytest.mark.parametrize("text", TEXTS)
def test_offsets_cut_the_prompt(text):
    model, tokenizer = tiny.shared("llama"), tiny.tokenizer()
    found = Explainer(model, tokenizer).explain(
        text, response_ids=[9], method="integrated_gradients", steps=1
    )
    assert found.inputs.text == text
    covered = {i for a, b in found.offsets for i in range(a, b)}
    assert covered == set(range(len(text)))
    for piece, (a, b) in zip(found.pieces, found.offsets, strict=True):
        if "<0x" not in piece and a < b:
            assert text[a:b] == piece


def test_bytes_of_one_character_share_its_range():
    tokenizer = tiny.tokenizer()
    ids = tokenizer("a🙂b", add_special_tokens=False).input_ids
    pieces, offsets, text = detokenize(tokenizer, ids)
    assert text == "a🙂b"
    assert pieces[0] == "a"
    assert pieces[-1] == "b"
    assert all(piece.startswith("<0x") for piece in pieces[1:-1])
    assert set(offsets[1:-1]) == {(1, 2)}
    names = "".join(pieces[1:-1])
    assert bytes.fromhex(names.replace("<0x", "").replace(">", "")) == "🙂".encode()


def test_bytes_that_are_no_character_stand_alone():
    tokenizer = tiny.tokenizer()
    start = tokenizer("🙂", add_special_tokens=False).input_ids[0]
    ids = [start, *tokenizer("abc", add_special_tokens=False).input_ids]
    pieces, offsets, text = detokenize(tokenizer, ids)
    assert text.endswith("abc")
    assert len(pieces) == len(offsets) == len(ids)
    assert pieces[1:] == ["a", "b", "c"]


def test_without_a_tokenizer_ids_show_themselves():
    found = Explainer(tiny.shared("gpt2")).explain(
        input_ids=[5, 6], response_ids=[7], method="integrated_gradients", steps=1
    )
    assert found.pieces == ("[5]", "[6]")
    assert found.response_pieces == ("[7]",)


@pytest.mark.parametrize("family", ["t5", "bart", "marian"])
def test_seq2seq_sides(family):
    model, tokenizer = tiny.shared(family), tiny.tokenizer(seq2seq=True)
    found = Explainer(model, tokenizer).explain(
        "the key", max_new_tokens=4, method="integrated_gradients", steps=1
    )
    ids = tokenizer("the key").input_ids
    assert found.input_ids.tolist() == ids
    assert found.roles[-1] == "special"  # the encoder's end of text
    whole = Explainer(model, tokenizer).explain(
        "the key",
        response_ids=found.response_ids,
        attribute_to="all",
        method="integrated_gradients",
        steps=1,
    )
    start = model.generation_config.decoder_start_token_id
    assert whole.input_ids.tolist() == [*ids, start, *found.response_ids.tolist()[:-1]]
    assert whole.roles[len(ids)] == "special"
    assert "generated" in whole.roles[len(ids) + 1 :]
    assert found.scores.shape == (len(found.response), len(ids))


def chat_tokenizer(template):
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    return tokenizer


PLAIN = (
    "<bos>{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TRIMMED = PLAIN.replace("m.content", "m.content | trim")
ONE_SPACE = "{% for m in messages %}{{ m.content }}{% if not loop.last %} {% endif %}{% endfor %}!"


@pytest.mark.parametrize("template", [PLAIN, TRIMMED, ONE_SPACE])
@pytest.mark.parametrize(
    "content", ["user", "the key is red", "a <user> b", "日本 🙂", "  spaced  "]
)
def test_every_template_token_stays_and_only_content_moves(template, content):
    model, tokenizer = tiny.shared("llama"), chat_tokenizer(template)
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": content}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    found = Explainer(model, tokenizer).explain(
        messages, response_ids=[9], method="integrated_gradients", steps=2
    )
    assert found.input_ids.tolist() == ids
    for role, expected in (("system", "s"), ("user", content)):
        owned = [o for o, r in zip(found.offsets, found.roles, strict=True) if r == role]
        text = found.inputs.text[owned[0][0] : owned[-1][1]]
        assert text.strip() == expected.strip()
    fixed = torch.tensor([r in ("template", "special") for r in found.roles])
    assert fixed.any()
    assert (found.scores[:, fixed] == 0).all()
    assert (found.scores[:, ~fixed] != 0).any()


def test_text_parts_are_text():
    tokenizer = chat_tokenizer(PLAIN)
    parts = [{"type": "text", "text": "the "}, {"type": "text", "text": "key"}]
    found = render(tokenizer, [{"role": "user", "content": parts}], {})
    written = [found.text[p.start : p.stop] for p in found.parts if p.role == "user"]
    assert written == ["the ", "key"]


def test_the_embedded_model_chats(keys):
    found = Explainer(*keys).explain(
        [{"role": "user", "content": "Ada's key is red. Q: What color is Ada's key?"}],
        method="integrated_gradients",
        steps=4,
    )
    assert found.response.text.startswith(" Ada's key is red.")
    assert found.roles[0] == "special"
    assert set(found.roles[-2:]) == {"template"}


MISTRAL = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST]"
    "{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content }}|{% endif %}"
    "{{ m.content }}[/INST]{% elif m.role == 'assistant' %}{{ m.content }}<eos>{% endif %}"
    "{% endfor %}"
)


def test_contents_may_come_in_another_order():
    """Mistral's template moves the system's message into the last turn of the user."""
    contents = {"system": "S", "user": "T", "assistant": "x"}
    messages = [{"role": r, "content": c} for r, c in contents.items()]
    messages.append({"role": "user", "content": "why"})
    found = render(chat_tokenizer(MISTRAL), messages, {})
    text, parts = found.text, found.parts
    assert text == "[INST]T[/INST]x<eos>[INST]S|why[/INST]"
    assert [(text[p.start : p.stop], p.role, p.turn) for p in parts] == [
        ("T", "user", "user 1"),
        ("x", "assistant", "assistant"),
        ("S", "system", "system"),
        ("why", "user", "user 3"),
    ]


def test_padding_behind_a_given_answer_is_cut():
    found = Explainer(tiny.shared("llama")).explain(
        input_ids=[5, 6],
        response_ids=[20, 30, tiny.EOS, tiny.PAD, tiny.PAD],
        method="integrated_gradients",
        steps=1,
    )
    assert found.response_ids.tolist() == [20, 30, tiny.EOS]


@pytest.mark.parametrize("family", ["bart", "m2m_100"])
def test_a_given_answer_starts_where_a_generated_one_does(family):
    model, tokenizer = tiny.shared(family), tiny.tokenizer(seq2seq=True)
    model.generation_config.forced_bos_token_id = 77
    explainer = Explainer(model, tokenizer)
    written = explainer.explain("the key", max_new_tokens=4, method="integrated_gradients", steps=1)
    assert written.response_ids[0] == 77
    given = explainer.explain(
        "the key", response=written.response.text[1:], method="integrated_gradients", steps=1
    )
    assert given.response_ids[0] == 77
    again = explainer.explain(
        "the key", response_ids=written.response_ids, method="integrated_gradients", steps=1
    )
    torch.testing.assert_close(again.probability, written.probability, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, tuple])
def test_ids_may_come_in_any_container(kind):
    explainer = Explainer(tiny.shared("gpt2"))
    found = explainer.explain(
        input_ids=kind([5, 6]), response_ids=kind([7]), method="integrated_gradients", steps=1
    )
    assert found.input_ids.tolist() == [5, 6]
    assert explainer.explain(
        input_ids=[np.int64(5), np.int64(6)],
        response_ids=[7],
        baseline=np.int64(4),
        method="integrated_gradients",
        steps=1,
    ).scores.shape == (1, 2)


def test_an_attached_model_can_be_pickled():
    model = hf_attrib.attach(tiny.shared("gpt2"))
    twin = pickle.loads(pickle.dumps(model))
    options = {
        "input_ids": [5, 6],
        "response_ids": [7],
        "method": "integrated_gradients",
        "steps": 1,
    }
    assert torch.equal(twin.explain(**options).scores, model.explain(**options).scores)


BAD = {
    "empty prompt": ({"prompt": ""}, "prompt is empty"),
    "no prompt": ({}, "give a prompt or input_ids; neither"),
    "two prompts": ({"prompt": "a", "input_ids": [5]}, "give a prompt or input_ids; both"),
    "two responses": (
        {"prompt": "a", "response": "b", "response_ids": [5]},
        "response and response_ids",
    ),
    "empty response": ({"prompt": "a", "response": ""}, "response is empty"),
    "empty ids": ({"input_ids": [], "response_ids": [5]}, "input_ids must be a non-empty list"),
    "text ids": ({"input_ids": ["a"], "response_ids": [5]}, "input_ids must be"),
    "foreign id": ({"input_ids": [5, 10**6], "response_ids": [5]}, "token ids from 5 to 1000000"),
    "negative id": ({"input_ids": [5], "response_ids": [-1]}, "list of token ids"),
    "too long": ({"input_ids": [5] * 400, "response_ids": [5]}, "reads at most 256 tokens"),
    "special only": ({"input_ids": [1], "response_ids": [5]}, "no token may move"),
    "nothing generated": ({"prompt": "a", "num_return_sequences": 2, "do_sample": True}, "2 seq"),
    "generate with response": (
        {"prompt": "a", "response": "b", "max_new_tokens": 3},
        "remove max_new_tokens",
    ),
    "own argument": ({"prompt": "a", "position_ids": None}, "position_ids would make"),
    "no template": ({"prompt": [{"role": "user", "content": "a"}]}, "no chat template"),
    "method": ({"prompt": "a", "method": "magic"}, "'magic' is unknown; expected one of"),
    "field": ({"prompt": "a", "method": "saliency", "steps": 3}, "has no fields"),
    "target": ({"prompt": "a", "target": "surprise"}, "'surprise' is unknown"),
    "attribute_to": ({"prompt": "a", "attribute_to": "x"}, "expected 'prompt' or 'all'"),
    "movable": ({"prompt": "a", "movable": "none"}, "expected 'content', 'all'"),
    "no flag": (
        {"input_ids": [5, 6], "response_ids": [7], "movable": [False] * 2},
        "all flags of movable are False",
    ),
    "flags": ({"input_ids": [5, 6], "response_ids": [7], "movable": [True]}, "1 flags for 2"),
    "baseline": ({"prompt": "a", "response": "b", "baseline": "nil"}, "'nil' is unknown"),
    "baseline token": ({"prompt": "a", "response": "b", "baseline": "token:the key"}, "not one"),
    "baseline id": ({"prompt": "a", "response": "b", "baseline": 9999}, "outside the vocabulary"),
    "baseline shape": (
        {"prompt": "a", "response": "b", "baseline": torch.ones(1, 2, 3)},
        r"\[D\] or \[N, D\]",
    ),
    "baseline width": ({"prompt": "a", "response": "b", "baseline": torch.ones(3)}, "3 wide"),
    "contrast empty": ({"prompt": "a", "response": "b", "contrast": ""}, "contrast is empty"),
    "contrast ids": (
        {"prompt": "a", "response": "b", "contrast": [1, 10**6]},
        "contrast has token",
    ),
    "contrast no ids": ({"prompt": "a", "response": "b", "contrast": []}, "contrast must be"),
    "contrast texts": ({"prompt": "a", "response": "b", "contrast": ["c"]}, "contrast must be"),
    "contrast message": (
        {"prompt": "a", "response": "b", "contrast": {"role": "assistant", "content": "c"}},
        "Write a message out",
    ),
    "contrast same": ({"prompt": "a", "response": "b", "contrast": "b"}, "the response itself"),
    "contrast list": ({"prompt": ["a", "b"], "contrast": ["c"]}, "2 prompts need a list of 2"),
    "contrast some": ({"prompt": ["a", "b"], "contrast": ["c", None]}, "in two calls"),
    "not a prompt": ({"prompt": 3}, "a prompt is a text"),
    "bytes": ({"prompt": b"a"}, "a prompt is a text or a list of messages; got b'a'"),
    "not prompts": ({"prompt": [1]}, "a prompt is a text"),
    "steps": (
        {"prompt": "a", "response": "b", "method": "integrated_gradients", "steps": 10**5},
        "rule='midpoint'",
    ),
    "too many new": ({"prompt": "a", "max_new_tokens": 300}, "has room for 25"),
    "contrast id": ({"prompt": "a", "response": "b", "contrast": 10**6}, "contrast"),
    "batch": ({"prompt": ["a", "b"], "response": ["c"]}, "2 prompts need a list of 2"),
    "surrogate": ({"prompt": "a\ud800"}, "no valid Unicode"),
    "scalar ids": ({"input_ids": 5, "response_ids": [5]}, "input_ids must be"),
    "float ids": ({"input_ids": [1.5], "response_ids": [5]}, "input_ids must be"),
    "leading padding": ({"input_ids": [0, 0, 5], "response_ids": [5]}, "begin with padding"),
    "response list": ({"prompt": "a", "response": ["b"]}, "a response is a text"),
    "options of no template": ({"prompt": "a", "template_options": {"x": 1}}, "go with messages"),
    "foreign cache": ({"prompt": "a", "past_key_values": object()}, "past_key_values would make"),
    "typo": ({"prompt": "a", "stepz": 3}, "no argument 'stepz'"),
    "no new token": ({"prompt": "a", "max_new_tokens": 0}, "max_new_tokens is 0"),
    "steps type": ({"prompt": "a", "method": "integrated_gradients", "steps": "5"}, "steps is '5'"),
    "method class": ({"prompt": "a", "method": IntegratedGradients}, "instance of a method"),
    "target list": ({"prompt": "a", "target": ["logit"]}, "is unknown"),
    "baseline text list": ({"prompt": "a", "response": "b", "baseline": ["x", 3]}, "cannot be"),
    "baseline nan": ({"prompt": "a", "response": "b", "baseline": [float("nan")]}, "finite"),
    "baseline short": (
        {"input_ids": [7, 8, 9], "response_ids": [8], "baseline": torch.zeros(1, 32)},
        r"expected one prompt and \(3, 32\)",
    ),
    "contrast float": ({"prompt": "a", "response": "b", "contrast": 1.5}, "contrast must be"),
    "movable none": ({"prompt": "a", "response": "b", "movable": None}, "movable is None"),
    "empty batch": ({"prompt": []}, "empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_says_what_to_do(case):
    options, message = BAD[case]
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())
    with pytest.raises(InputError, match=message):
        explainer.explain(**options)


def test_not_a_model():
    with pytest.raises(InputError, match="generative model of transformers"):
        Explainer(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="batch_size is 0"):
        Explainer(tiny.shared("gpt2"), batch_size=0)


def test_results_travel_losslessly(tmp_path):
    model, tokenizer = tiny.shared("llama"), tiny.tokenizer()
    explainer = Explainer(model, tokenizer)
    for method in hf_attrib.methods.methods():
        found = explainer.explain(
            "a 🙂 \x1b[0m \ud7ff", max_new_tokens=3, method=method, contrast=5, attribute_to="all"
        )
        found.save(tmp_path / "r.json")
        back = hf_attrib.load(tmp_path / "r.json")
        for name in ("scores", "value", "reference_value", "probability", "input_ids"):
            torch.testing.assert_close(
                getattr(back, name), getattr(found, name), rtol=0, atol=0, equal_nan=True
            )
        for name in ("pieces", "response_pieces", "roles", "offsets", "run"):
            assert getattr(back, name) == getattr(found, name), name
        assert back.inputs.text == found.inputs.text
        assert back.response.text == found.response.text
        torch.testing.assert_close(back.gap, found.gap, rtol=0, atol=0, equal_nan=True)
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["converged"] == found.converged.tolist()
    assert list(tmp_path.iterdir()) == [tmp_path / "r.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "is not JSON"),
        ("[]", "not a saved result"),
        ('{"format": "other"}', "not a saved result"),
        (
            '{"format": "hf_attrib.attribution", "format_version": 99}',
            "up to 2, so update",
        ),
        ('{"format": "hf_attrib.attribution", "format_version": 1}', "is damaged"),
    ],
)
def test_files_that_are_no_results(tmp_path, content, message):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(hf_attrib.ResultFileError, match=message):
        hf_attrib.load(path)


def places(content, path=()):
    """Every place in a JSON document, the first few of each list."""
    entries = content.items() if isinstance(content, dict) else enumerate(content[:2])
    for key, value in entries:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


@pytest.mark.parametrize(
    "junk", [None, True, -1, 10**400, "x", "\x1b[31m", [], {}, [[]], float("nan"), "inf"], ids=repr
)
def test_damaged_files_load_or_say_so(tmp_path, junk):
    """One value replaced by junk: a readable result or one clear error, and nothing else."""
    explainer = Explainer(tiny.shared("llama"), tiny.tokenizer())
    explainer.explain("the key", max_new_tokens=2, method="integrated_gradients", steps=2).save(
        tmp_path / "good.json"
    )
    text = (tmp_path / "good.json").read_text()
    refused = 0
    for place in places(json.loads(text)):
        content = json.loads(text)
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = junk
        (tmp_path / "bad.json").write_text(json.dumps(content))
        try:
            shown = str(hf_attrib.load(tmp_path / "bad.json"))
            assert "\x1b" not in shown
        except hf_attrib.ResultFileError:
            refused += 1
    assert refused > 10


def test_links_stay_links_and_devices_stay_devices(tmp_path):
    found = Explainer(tiny.shared("gpt2")).explain(
        input_ids=[5], response_ids=[7], method="integrated_gradients", steps=1
    )
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    found.save(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert torch.equal(hf_attrib.load(tmp_path / "real.json").scores, found.scores)
    with pytest.raises(InputError, match="no regular file"):
        found.save("/dev/null")


def test_saving_is_whole_or_not_at_all(tmp_path):
    found = Explainer(tiny.shared("gpt2")).explain(
        input_ids=[5], response_ids=[7], method="integrated_gradients", steps=1
    )
    path = tmp_path / "r.json"
    found.save(path)
    before = path.read_text()
    object.__setattr__(found.run, "model", object())  # cannot be written
    with pytest.raises(TypeError):
        found.save(path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_tokens_check_their_lengths():
    with pytest.raises(ValueError, match="differ in length"):
        Tokens(torch.tensor([1, 2]), ("a",), ("prompt",), ((0, 1),), "a")
    with pytest.raises(ValueError, match="unknown roles"):
        Tokens(torch.tensor([1]), ("a",), ("x",), ((0, 1),), "a")


@pytest.mark.parametrize("family", ["mpt", "whisper"])
def test_positions_by_other_names_are_a_limit_too(family):
    """They failed deep inside the model, in words of its own."""
    explainer = Explainer(families.build(f"causal/{family}"))
    with pytest.raises(InputError, match="reads at most 128 tokens, but would read 130"):
        explainer.explain(input_ids=families.ids(130, 1), response_ids=families.ids(4, 2))


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        ("seq2seq/led", (32, 128)),
        ("seq2seq/bart", (128, 128)),
        ("seq2seq/prophetnet", (128, 126)),
        ("causal/prophetnet", (126,)),
        ("pair/roberta:roberta", (127, 127)),
    ],
)
def test_each_side_reads_up_to_its_last_position_and_no_further(name, reads):
    model = families.build(name)
    if name == "seq2seq/led":  # its sides have limits of their own
        model.config.max_encoder_position_embeddings = reads[0]
    transcriber, start = Transcriber(model, None), {}
    if len(reads) > 1:
        start = {"decoder_start_token_id": 0}

    def sequence(lengths):
        response = families.ids(lengths[1], 2) if len(lengths) > 1 else [5]
        request = Request(input_ids=families.ids(lengths[0], 1), response_ids=response)
        prompt = transcriber.prompt(request)
        return transcriber.given(prompt, request, start)

    run = {"input_ids": sequence(reads).prompt.ids[None]}
    if len(reads) > 1:
        run["decoder_input_ids"] = torch.ones(1, reads[1], dtype=torch.int64)
    with torch.no_grad():
        model(**run, use_cache=False)  # which has all these positions
    for side, most in enumerate(reads):
        longer = [*reads[:side], most + 1, *reads[side + 1 :]]
        with pytest.raises(InputError, match=f"reads at most {most} tokens, .* {most + 1}"):
            sequence(longer)


@pytest.mark.parametrize("length", [1, 3, 7, 9])
def test_a_block_of_padding_longer_than_a_prompt_is_not_taken_for_it(length):
    """LED pads its encoder to whole windows, of 1,024 tokens in the wild."""
    explainer = Explainer(families.build("seq2seq/led"))
    prompt, response = families.ids(length, 1), families.ids(4, 2)
    found = explainer.explain(
        input_ids=prompt, response_ids=response, method="integrated_gradients", steps=64
    )
    assert found.scores.shape == (4, length)
    difference = found.value - found.reference_value
    torch.testing.assert_close(found.scores.sum(-1), difference, rtol=0.02, atol=1e-4)
