"""A result that is passed on names the model, and tells nobody in which folder it lay."""

import hf_attrib
from hf_attrib import embedded

PROMPT = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
KEYS = {"ada": "Ada's key is red", "bob": "Bob's key is blue"}


def test_no_look_at_a_result_tells_the_folder_of_its_model(tmp_path):
    model, tokenizer = embedded.load("keys-llama")
    folder = tmp_path / "secret" / "my-model"
    model.config.name_or_path = tokenizer.name_or_path = str(folder)
    explainer = hf_attrib.Explainer(model, tokenizer)
    one = explainer.explain(PROMPT, method="input_x_gradient", max_new_tokens=1)
    found = {
        "attribution": one,
        "comparison": hf_attrib.compare(one, one),
        "robustness": explainer.robustness(PROMPT, attack="fgsm", max_new_tokens=1),
        "passages": explainer.passages(PROMPT, groups=KEYS, max_new_tokens=1),
    }
    for name, result in found.items():
        for look in (str(result), result.to_html(), result._repr_html_()):
            assert "my-model" in look, name
            assert "secret" not in look, name
        if name != "comparison":
            result.save(tmp_path / "r.json")
            assert "secret" not in (tmp_path / "r.json").read_text(), name
