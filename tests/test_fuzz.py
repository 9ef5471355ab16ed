"""Any text, from prompt to file and back: no crash, no residue, nothing lost, no terminal steered.

What cannot be explained is refused with an error of our own; anything else that is raised is a bug.
"""

import json
import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
import torch
from helpers import tiny
from helpers.made_results import attribution
from helpers.residue import assert_same, state
from helpers.text_checks import assert_lossless, harmless
from helpers.tokenizers_of_all_kinds import TOKENIZERS, encode
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_attrib
from hf_attrib import Explainer, HFAttribError, InputError, compare
from hf_attrib.render import plain, to_svg, to_text
from hf_attrib.text import Span, Tokens, partition
from hf_attrib.text.grouping import RULES, sentences, words

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


FRAGMENTS = (
    "</s>", "<s>", "<pad>", "<unk>", "<|endoftext|>", "<0x0A>", "▁", "Ġ", "##", "[MASK]",
    "\x1b[2J", "\x1b]8;;https://evil.example\x1b\\", "\x9b31m", "\x07", "\x00", "\x7f", "\r\n",
    "\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\u2028", "\u0301", "\ufffd", "\ufffe",
    "[bold red]", "[/]", ":smile:", "{0}", "{{ x }}", "{% raw %}", "%s", "\\N{BULLET}",
    "<script>alert(1)</script>", "</style>", "]]>", "&amp;", "\"'", "🙂", "🇫🇷",
    "👩\u200d👩\u200d👧", "日本語", "カタカナ", "한국어", "नमस्ते", "สวัสดี", "שלום", "café",
    "cafe\u0301", "ﬁ", "Ⅸ", "ß", " ", "  ", "\n", "\t", "\u00a0", "\u3000",
    "Ada's key is red.", "knight", "Q:", "x" * 40,
)  # fmt: skip


#: Text in pieces that matter to tokenizers, terminals or pages, and in characters of any kind.
TEXT = st.lists(
    st.sampled_from(FRAGMENTS) | st.text(max_size=6) | st.text("abcdefghijklmnop '.", max_size=12),
    max_size=8,
).map("".join)


SHORT = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=4), max_size=4).map("".join)


#: Text with a half of a surrogate pair, which no tokenizer can read.
BROKEN = st.builds("{}{}{}".format, TEXT, st.characters(categories=["Cs"]), TEXT)


def explained(explainer, prompt, **options):
    """A result, or ``None`` where the call was refused."""
    try:
        return explainer.explain(prompt, method="integrated_gradients", steps=2, **options)
    except HFAttribError:
        return None


def check(result, folder):
    """Everything there is to do with a result."""
    shown = [str(result), str(result.top(3))]
    for by in RULES:
        grouped = result.group(by, response=by)
        assert_sums(grouped, result)
        assert_lossless(grouped, folder)
    shown.append(to_text(result.group("word"), width=40, matrix=True))
    assert_lossless(result, folder)
    assert str(hf_attrib.load(folder / "r.json")) == shown[0]
    assert_lossless(result[::-1], folder)
    for row, piece in zip(result, result.response_pieces, strict=True):
        try:
            assert piece.strip() in "".join(result[piece].response_pieces)
        except InputError as error:  # generated twice, or nothing
            shown.append(repr(str(error)))
        assert len(row) == 1
    rows = result.to_rows()
    assert len(rows) == result.scores.numel()
    assert json.loads(json.dumps(rows)) == rows
    shown.append(plain(compare(result, result)))
    assert all(harmless(text) for text in shown)
    tags = {element.tag.split("}")[1] for element in ET.fromstring(to_svg(result)).iter()}
    page = result.to_html()
    assert "<script>alert" not in page
    assert harmless(page)
    assert tags <= {"svg", "title", "style", "defs", "clipPath", "rect", "text", "g"}


def assert_sums(grouped, result):
    assert len(grouped.columns) <= len(result.columns)
    for name in ("scores", "value", "reference_value"):
        own, whole = (getattr(r, name).double() for r in (grouped, result))
        tolerance = 1e-5 * float(whole.abs().sum()) + 1e-9  # sums are rounded to float32
        torch.testing.assert_close(own.sum(), whole.sum(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", hf_attrib.embedded.names())
def test_any_prompt_and_response(name, tmp_path):
    explainer = Explainer(*hf_attrib.embedded.load(name))
    before, done = state(explainer.model, explainer.tokenizer), []

    @settings(max_examples=12)
    @given(prompt=TEXT, response=SHORT)
    def holds(prompt, response):
        result = explained(explainer, prompt, response=response)
        if result is not None:
            done.append(result)
            check(result, tmp_path)
        else:
            assert not prompt.strip() or not response.strip() or "<" in prompt

    holds()
    assert len(done) > 4
    assert_same(before, state(explainer.model, explainer.tokenizer))


@pytest.mark.parametrize("name", hf_attrib.embedded.names())
def test_any_prompt(name, tmp_path):
    explainer = Explainer(*hf_attrib.embedded.load(name))
    before = state(explainer.model, explainer.tokenizer)

    @settings(max_examples=5)
    @given(prompt=TEXT)
    def holds(prompt):
        result = explained(explainer, prompt, max_new_tokens=2, attribute_to="all")
        if result is not None:
            check(result, tmp_path)

    holds()
    assert_same(before, state(explainer.model, explainer.tokenizer))


def test_any_conversation(keys, tmp_path):
    explainer = Explainer(*keys)
    before, done = state(*keys), []

    @settings(max_examples=8)
    @given(contents=st.lists(TEXT, min_size=1, max_size=3))
    def holds(contents):
        roles = ("user", "assistant", "user")
        messages = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
        result = explained(explainer, messages, response="Ada's key")
        if result is not None:
            done.append(result)
            check(result, tmp_path)

    holds()
    assert done
    assert_same(before, state(*keys))


@pytest.mark.parametrize("name", hf_attrib.embedded.names())
def test_what_no_tokenizer_can_read_is_refused(name):
    explainer = Explainer(*hf_attrib.embedded.load(name))

    @settings(max_examples=10)
    @given(broken=BROKEN)
    def holds(broken):
        for options in ({"prompt": broken}, {"prompt": "Ada", "response": broken}):
            with pytest.raises(InputError, match="no valid Unicode at character"):
                explainer.explain(**options, method="integrated_gradients", steps=2)

    holds()


LONG = ["a " * 3000, "漢 " * 3000, "\x1b[0m. " * 1000, "</s>" * 2000, "x" * 9000 + "." * 3000]


@pytest.mark.parametrize("text", LONG)
def test_more_text_than_a_model_reads_is_refused(keys, text):
    explainer = Explainer(*keys)
    limit = explainer.model.config.max_position_embeddings
    for options in ({"prompt": text, "response": "a"}, {"prompt": "Ada", "response": text}):
        with pytest.raises(InputError, match=f"reads at most {limit} tokens"):
            explainer.explain(**options, method="integrated_gradients", steps=2)


@pytest.mark.parametrize("text", LONG[:2])
def test_long_text_is_explained_where_nothing_limits_it(g2p, text, tmp_path):
    result = Explainer(*g2p).explain(
        "a" + text[:600], response="K AE1 T", method="integrated_gradients", steps=2
    )
    assert len(result.inputs) > 100
    check(result, tmp_path)


def test_empty_text_is_refused(keys):
    explainer = Explainer(*keys)
    for prompt, response in (("", "a"), ("a", ""), ("", "")):
        with pytest.raises(InputError, match="is empty"):
            explainer.explain(prompt, response=response, method="integrated_gradients", steps=2)


@settings(max_examples=80)
@given(text=TEXT)
def test_segments_of_any_text(text):
    for segment in (words, sentences):
        found = segment(text)
        inside = {i for a, b in found for i in range(a, b)}
        assert all(a < b for a, b in found)
        assert all(b <= c for (_, b), (c, _) in pairwise(found))
        assert all(text[a:b] == text[a:b].strip() for a, b in found)
        assert all(text[i].isspace() for i in range(len(text)) if i not in inside)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_groups_of_any_text(name):
    @settings(max_examples=60)
    @given(text=TEXT)
    def holds(text):
        try:
            tokens = encode(TOKENIZERS[name], text)
        except InputError:
            return
        for by in RULES:
            spans = partition(tokens, by)
            assert [s.start for s in spans] == [0, *(s.stop for s in spans)][:-1]
            assert spans[-1].stop == len(tokens)

    holds()


@st.composite
def any_tokens(draw):
    """Tokens as no tokenizer should make them: ranges that overlap, are empty or run backwards."""
    text = draw(TEXT)
    place = st.integers(0, len(text))
    offsets = draw(st.lists(st.tuples(place, place).map(sorted).map(tuple), max_size=9))
    count = len(offsets)
    roles = draw(st.lists(st.sampled_from(["user", "special"]), min_size=count, max_size=count))
    names = draw(st.lists(TEXT, min_size=count, max_size=count))
    return Tokens(torch.arange(count), tuple(names), tuple(roles), tuple(offsets), text)


@settings(max_examples=80)
@given(tokens=any_tokens(), data=st.data())
def test_groups_of_any_tokens(tokens, data):
    edges = st.integers(-1, len(tokens) + 1)
    where = st.tuples(edges, edges) | TEXT
    given_parts = data.draw(st.dictionaries(TEXT, where, max_size=3) | st.lists(where, max_size=3))
    for by in (*RULES, given_parts):
        try:
            spans = partition(tokens, by)
        except InputError:
            assert by is given_parts
            continue
        assert [s.start for s in spans] == [0, *(s.stop for s in spans)][:-1]
        assert not spans or spans[-1].stop == len(tokens)
        assert all(isinstance(tokens.piece(span), str) for span in spans)


NUMBERS = st.floats(width=32) | st.sampled_from([0.0, -0.0, math.nan, math.inf, 1e-45, 3e38])


FIELDS = st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT, max_size=3)


RUNS = st.fixed_dictionaries(
    dict.fromkeys(("model", "baseline", "target", "method", "movable", "dtype"), TEXT)
    | {
        "method_fields": FIELDS,
        "versions": st.dictionaries(TEXT, TEXT, max_size=2),
        "identity": st.none() | TEXT,
        "model_revision": st.none() | TEXT,
        "notes": st.lists(TEXT, max_size=3).map(tuple),
        "signed": st.booleans(),
        "attribute_to": st.sampled_from(["prompt", "all"]),
    }
)


@settings(max_examples=60)
@given(data=st.data())
def test_any_scores_and_names(data, tmp_path_factory):
    pieces = data.draw(st.lists(TEXT, min_size=1, max_size=5))
    response = data.draw(st.lists(TEXT, min_size=1, max_size=3))
    row = st.lists(NUMBERS, min_size=len(pieces), max_size=len(pieces))
    scores = data.draw(st.lists(row, min_size=len(response), max_size=len(response)))
    result = attribution(scores, pieces, response, **data.draw(RUNS))
    with pytest.raises(InputError, match="half of a surrogate pair"):
        result.group([Span(0, 1, data.draw(BROKEN))])
    result = result.group([Span(0, 1, data.draw(TEXT))], response=[Span(0, 1, data.draw(TEXT))])
    folder = tmp_path_factory.mktemp("fuzz")
    assert_lossless(result, folder)
    assert harmless(str(result))
    assert harmless(str(result.top()))
    assert harmless(str(compare(result, result)))
    assert harmless(result.to_html().replace("\t", " "))  # white space in a page


def test_the_tiny_models_take_any_text_too(tmp_path):
    """Byte-level tokens: every character is split, and nothing is unknown."""
    explainer = Explainer(tiny.model("llama"), tiny.tokenizer())

    @settings(max_examples=8)
    @given(prompt=TEXT, response=SHORT)
    def holds(prompt, response):
        result = explained(explainer, prompt, response=response)
        if result is not None:
            check(result, tmp_path)

    holds()
