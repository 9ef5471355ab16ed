"""What files keep: version 2 the whole sequence and its segments; version 1 is read as it was."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.made_results import paris
from helpers.text_checks import assert_lossless

import hf_attrib
from hf_attrib import Attribution, Explainer, ResultFileError, Robustness

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")  # of few steps

OLD = Path(__file__).parent / "files"
QUESTION = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
CHAT = [
    {"role": "user", "content": "Ada's key is red."},
    {"role": "user", "content": "Q: What color is Ada's key?"},
]


@pytest.fixture(scope="module")
def explainers():
    return {name: Explainer(*hf_attrib.embedded.load(name)) for name in hf_attrib.embedded.names()}


def assert_as_written(result, name, content):
    """Compare with the numbers of a file, read without us."""
    numbers = np.array(content[name], dtype=float)  # of None it makes NaN
    assert np.array_equal(getattr(result, name).double().numpy(), numbers, equal_nan=True), name


@pytest.mark.parametrize("name", ["attribution", "grouped"])
def test_attributions_of_version_1_load_to_equal_scores(name, tmp_path):
    """The files were written by the code that knew no other version."""
    content = json.loads((OLD / f"{name}-1.json").read_text())
    assert content["format_version"] == 1
    old = Attribution.load(OLD / f"{name}-1.json")
    for part in ("scores", "value", "probability", "gap"):
        assert_as_written(old, part, content)
    assert old.inputs.text == content["inputs"]["text"]
    assert old.sequence is None
    assert old.inputs.segments == ()
    assert_lossless(old, tmp_path)  # and is written in version 2
    assert json.loads((tmp_path / "r.json").read_text())["format_version"] == 2


def test_a_saved_answer_of_version_1_is_what_the_model_still_says(explainers):
    old = hf_attrib.load(OLD / "attribution-1.json")
    again = explainers["g2p-t5"].explain(
        "knight", response_ids=old.response_ids, method="integrated_gradients", steps=4
    )
    torch.testing.assert_close(again.value, old.value)
    # The mean embedding is rounded otherwise by other processors, and a rectifier that it brings
    # over its threshold at a node changes what this node says; the sums stay near.
    change = float((old.value - old.reference_value).abs().max())
    torch.testing.assert_close(again.scores, old.scores, rtol=0, atol=2e-3 * change)


def test_robustness_of_version_1_loads_to_equal_numbers(tmp_path):
    content = json.loads((OLD / "robustness-1.json").read_text())
    assert content["format_version"] == 1
    old = hf_attrib.load(OLD / "robustness-1.json")
    assert isinstance(old, Robustness)
    for part in ("radius", "drop", "share", "margin"):
        assert_as_written(old, part, content)
    assert old.sequence is None
    old.save(tmp_path / "r.json")
    assert torch.equal(Robustness.load(tmp_path / "r.json").drop, old.drop)


def test_tokens_of_version_2_need_their_segments(tmp_path):
    content = json.loads((OLD / "attribution-1.json").read_text())
    path = tmp_path / "r.json"
    path.write_text(json.dumps(content | {"format_version": 2}))
    with pytest.raises(ResultFileError, match="it has no 'sequence'"):
        hf_attrib.load(path)
    path.write_text(json.dumps(content | {"format_version": 2, "sequence": None}))
    with pytest.raises(ResultFileError, match=r"it has no 'inputs\.segments'"):
        hf_attrib.load(path)


def test_files_say_who_wrote_them(tmp_path):
    paris().save(tmp_path / "r.json")
    written = json.loads((tmp_path / "r.json").read_text())["written_by"]
    assert written == f"hf_attrib {hf_attrib.__version__}"


def same(a, b):
    parts = ("pieces", "roles", "offsets", "text", "segments")
    return torch.equal(a.ids, b.ids) and all(getattr(a, n) == getattr(b, n) for n in parts)


PROMPTS = {"keys-llama": QUESTION, "g2p-t5": "knight"}


@pytest.mark.parametrize("attribute_to", ["prompt", "all"])
@pytest.mark.parametrize("name", PROMPTS)
def test_a_saved_result_can_be_asked_again(name, attribute_to, explainers, tmp_path):
    explainer = explainers[name]
    first = explainer.explain(
        PROMPTS[name], method="integrated_gradients", steps=4, attribute_to=attribute_to
    )
    first.save(tmp_path / "r.json")
    saved = Attribution.load(tmp_path / "r.json")
    for part in ("prompt", "start", "response"):
        assert same(getattr(saved.sequence, part), getattr(first.sequence, part)), part
    assert same(saved.inputs, first.inputs)
    again = explainer.explain(
        input_ids=saved.sequence.prompt.ids,
        response_ids=saved.sequence.response.ids,
        method="integrated_gradients",
        steps=4,
        attribute_to=attribute_to,
    )
    assert torch.equal(again.scores, first.scores)


def test_a_saved_chat_can_be_asked_again_with_what_moved_in_it(explainers, tmp_path):
    """Ids alone do not say what the template wrote; the roles that were saved do."""
    explainer = explainers["keys-llama"]
    first = explainer.explain(CHAT, method="integrated_gradients", steps=4)
    first.save(tmp_path / "r.json")
    kept = Attribution.load(tmp_path / "r.json").sequence
    again = explainer.explain(
        input_ids=kept.prompt.ids,
        response_ids=kept.response.ids,
        movable=[role not in ("special", "template") for role in kept.prompt.roles],
        method="integrated_gradients",
        steps=4,
    )
    assert torch.equal(again.scores, first.scores)


def test_a_saved_attack_can_be_asked_again(explainers, tmp_path):
    explainer = explainers["g2p-t5"]
    first = explainer.robustness("cat", bisections=1, max_new_tokens=3)
    first.save(tmp_path / "r.json")
    kept = Robustness.load(tmp_path / "r.json").sequence
    again = explainer.robustness(
        input_ids=kept.prompt.ids, response_ids=kept.response.ids, bisections=1
    )
    assert torch.equal(again.radius, first.radius)
    assert torch.equal(again.drop, first.drop)


def test_the_decoders_start_is_known_though_nothing_is_attributed_to_it(explainers, tmp_path):
    explainer = explainers["g2p-t5"]
    explainer.explain("knight", method="integrated_gradients", steps=1).save(tmp_path / "r.json")
    start = Attribution.load(tmp_path / "r.json").sequence.start
    assert start.ids.tolist() == [explainer.model.generation_config.decoder_start_token_id]
    assert start.roles == ("special",)


def test_results_refuse_the_sequence_of_another(explainers):
    a, b = (
        explainers["g2p-t5"].explain(word, method="integrated_gradients", steps=1)
        for word in ("cat", "dog")
    )
    with pytest.raises(ValueError, match="are not those of the sequence"):
        replace(a, sequence=b.sequence)


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_turns_are_groups_before_and_after_saving(method, explainers, tmp_path):
    given = {"method": method} | ({"steps": 4} if method != "saliency" else {})
    explainer = explainers["keys-llama"]
    asked = explainer.explain(CHAT, groups="turn", **given)
    names = ["user 0", "user 1"]
    assert [s.name for s in asked.columns if s.name] == names
    explainer.explain(CHAT, response_ids=asked.response_ids, **given).save(tmp_path / "r.json")
    grouped = Attribution.load(tmp_path / "r.json").group("turn")
    assert grouped.columns == asked.columns
    torch.testing.assert_close(grouped.scores, asked.scores, rtol=1e-4, atol=1e-4)
    assert_lossless(grouped, tmp_path)
    assert [s.name for s in hf_attrib.load(tmp_path / "r.json").columns if s.name] == names
    shown = str(grouped)
    assert all(name in shown for name in names)


@pytest.mark.parametrize(
    ("path", "junk", "message"),
    [
        (["sequence", "start"], None, "its sequence.start is null, expected an object"),
        (["sequence", "prompt", "segments"], None, "its sequence.prompt.segments is null"),
        (["sequence", "prompt", "segments", 0], [0, 1, "turn", "x"], "has 4 entries, expected 5"),
        (["sequence", "prompt", "segments", 0, 1], 10**6, "segment 0 reaches beyond"),
        (["sequence", "prompt", "segments", 0, 4], 0, "segment 0 lies in none of those before it"),
        (["sequence", "prompt", "segments", 0, 3], 1, "is 1, expected a text"),
    ],
)
def test_damage_in_a_sequence_is_named(path, junk, message, explainers, tmp_path):
    file = tmp_path / "r.json"
    explainers["keys-llama"].explain(CHAT, method="saliency", max_new_tokens=1).save(file)
    content = json.loads(file.read_text())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = junk
    file.write_text(json.dumps(content))
    with pytest.raises(ResultFileError, match=message):
        hf_attrib.load(file)
