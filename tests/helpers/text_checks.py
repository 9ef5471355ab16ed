"""What must hold of any text that is shown or saved."""

import unicodedata

import torch

import hf_attrib


def harmless(text):
    """Whether text can be printed: it holds no control or format character but those it needs."""
    kinds = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    return kinds <= {"\n", "\u200d"}


def assert_lossless(result, folder):
    path = folder / "r.json"
    result.save(path)
    assert path.read_text().isascii()
    back = hf_attrib.load(path)
    for name in ("scores", "value", "reference_value", "probability", "input_ids", "response_ids"):
        a, b = getattr(result, name), getattr(back, name)
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
    for name in ("pieces", "response_pieces", "roles", "offsets", "rows", "columns", "run"):
        assert getattr(back, name) == getattr(result, name), name
    pairs = [(back.inputs, result.inputs), (back.response, result.response)]
    assert (back.sequence is None) == (result.sequence is None)
    if result.sequence is not None:
        names = ("prompt", "start", "response")
        pairs += [(getattr(back.sequence, n), getattr(result.sequence, n)) for n in names]
    for a, b in pairs:
        assert torch.equal(a.ids, b.ids)
        assert (a.text, a.segments) == (b.text, b.segments)
    assert [p.name for p in folder.iterdir()] == ["r.json"]
