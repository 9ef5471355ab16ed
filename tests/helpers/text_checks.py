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
    assert (back.inputs.text, back.response.text) == (result.inputs.text, result.response.text)
    assert [p.name for p in folder.iterdir()] == ["r.json"]
