"""A Space of one file: ask a small model, and see what each generated token came from.

``pip install hf_attrib gradio`` and ``python app.py``. The model ships with hf_attrib, so nothing
is downloaded. To explain another, load it with transformers and hand both to ``Explainer``.
"""

from __future__ import annotations

import gradio as gr

import hf_attrib

MODEL = "keys-llama"
EXAMPLE = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
METHODS = ["loo_shapley", "integrated_gradients", "occlusion"]

explainer = hf_attrib.Explainer(*hf_attrib.embedded.load(MODEL))


def explain(prompt: str, method: str) -> str:
    """Return the page of a prompt's attribution, or the sentence that says what is wrong."""
    try:
        result = explainer.explain(prompt, method=method, max_new_tokens=32)
    except hf_attrib.HFAttribError as error:
        raise gr.Error(str(error), print_exception=False) from error
    return result._repr_html_()


def demo() -> gr.Blocks:
    """Return the page: a prompt, a method, and what the model makes of them."""
    with gr.Blocks(title="hf_attrib") as page:
        gr.Markdown("# Why did the model say that?")
        prompt = gr.Textbox(EXAMPLE, label="Prompt", lines=2)
        method = gr.Dropdown(METHODS, label="Method")
        ask = gr.Button("Explain", variant="primary")
        shown = gr.HTML()
        ask.click(explain, [prompt, method], shown)
    return page


if __name__ == "__main__":
    demo().launch()
