"""Processes that explain together; ``test_processes.py`` starts them.

    python processes_worker.py COUNT FOLDER

Each of them runs every case below and writes what came out of it into FOLDER/INDEX.json. They are
forks of this one, so that what takes long to import is imported once.
"""

import json
import multiprocessing
import sys
import warnings
from datetime import timedelta
from functools import cache
from pathlib import Path

import torch
from torch import distributed

from helpers import tiny
from hf_attrib import Explainer
from hf_attrib.results import to_json

PROMPTS = ["the key is red", "Ada was born in 19", "Bob", "the red key", "in the blue"]


@cache
def explainer(family="llama", batch_size=None):
    """An explainer of all processes there are."""
    model = tiny.model(family, dtype=torch.float64)  # so that sums may be split anywhere
    return Explainer(
        model,
        tiny.tokenizer(model.config.is_encoder_decoder),
        batch_size=batch_size,
        distributed=distributed.is_initialized(),
    )


def explain(prompt="the key is red", **options):
    return explainer().explain(prompt, **options)


def given(change=0.0):
    """A baseline of more numbers than a tensor shows, the last one changed."""
    ids = torch.arange(40) + 10
    baseline = torch.linspace(-1, 1, 40 * 32).reshape(40, 32)
    baseline[-1, -1] += change
    options = {
        "baseline": baseline,
        "movable": "all",
        "response": " red",
        "method": "integrated_gradients",
        "steps": 2,
    }
    return explainer().explain(input_ids=ids, **options)


#: What any number of processes must agree on with a single one.
SAME = {
    "adaptive": lambda: explain(response=" in the"),
    "adaptive, encoder-decoder": lambda: explainer("t5").explain(
        "the key is red", max_new_tokens=2
    ),
    "fixed rule": lambda: explain(
        response=" in the", method="integrated_gradients", steps=5, attribute_to="all"
    ),
    "chunks of two": lambda: explainer(batch_size=2).explain(
        "the key is red", response=" in the", method="integrated_gradients", steps=7
    ),
    "sampling method": lambda: explain(response=" in", method="expected_gradients", samples=5),
    "closed loop": lambda: explain(response=" in the", method="guided_ig", steps=3),
    "walk of all tokens": lambda: explain(response=" in the", method="mim", steps=3),
    "walks of each token": lambda: explain(
        response=" in the", method="bim", steps=2, objective="per_token", eps=0.25
    ),
    "walk by a hidden layer": lambda: explain(
        response=" in the", method="naa", steps=2, points=3, eps=0.25
    ),
    "the best of several walks": lambda: explain(
        response=" in the", method="pgd", steps=2, restarts=3, objective="per_token"
    ),
    "a single row": lambda: explain(response=" in the", method="saliency"),
    "spans": lambda: explain(response=" in the blue", spans="response"),
    "two prompts": lambda: explain(
        PROMPTS[:2], max_new_tokens=3, method="integrated_gradients", steps=3
    ),
    "five prompts": lambda: explain(
        PROMPTS, max_new_tokens=3, method="integrated_gradients", steps=3
    ),
    "five prompts and answers": lambda: explain(
        PROMPTS, response=[" red"] * 5, method="integrated_gradients", steps=3
    ),
    "large baseline": given,
}


def sampled(index):
    """Answers drawn from another random state in each process."""
    torch.manual_seed(index)
    return explain(
        PROMPTS[0], do_sample=True, max_new_tokens=5, method="integrated_gradients", steps=2
    )


def interrupted(index):
    """A caller's own code fails in the second process, half way."""

    def progress(done, total):
        if index == 1:
            raise ZeroDivisionError("on purpose")

    watched = Explainer(
        tiny.model("llama"), tiny.tokenizer(), progress=progress, batch_size=1, distributed=True
    )
    return watched.explain("the key", response=" is", method="integrated_gradients", steps=9)


def bad_model(index):
    """The first process has a model that cannot be explained."""
    model = tiny.model("llama")
    if index == 0:
        model.model.embed_tokens.forward = lambda ids: torch.zeros(*ids.shape, 32)
    bad = Explainer(model, tiny.tokenizer(), distributed=True)
    return bad.explain("the key", response=" is", method="integrated_gradients", steps=2)


def short_of_memory(index):
    """Memory ends in the last process if it runs more than one row at once."""
    model = tiny.model("llama", dtype=torch.float64)
    short = Explainer(model, tiny.tokenizer(), batch_size=4, distributed=True)
    short.explain("the key is red", response=" in the", method="saliency")
    body = model.model.forward

    def forward(input_ids, **inputs):
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return body(input_ids=input_ids, **inputs)

    if index == distributed.get_world_size() - 1:
        model.model.forward = forward
    return short.explain(
        "the key is red", response=" in the", method="integrated_gradients", steps=7
    )


def other_windows(index):
    """As if each process prepared another number of points at once."""
    own = Explainer(tiny.model("llama"), tiny.tokenizer(), distributed=True)
    memory = own._engine.memory
    make = memory.runner

    def runner(width, device):
        made = make(width, device)
        resize = made.resize

        def skewed(limit):
            resize(limit)
            made.window = 1 + index

        made.resize = skewed
        return made

    memory.runner = runner
    return own.explain("the key", response=" in", method="integrated_gradients", steps=7)


def other_template(index, prompts):
    """A word of the chat template differs, but not how many tokens there are."""
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{{ word }}{% for m in messages %}{{ m.content }}{% endfor %}"
    own = Explainer(tiny.model("llama"), tokenizer, distributed=True)
    return own.explain(
        [[{"role": "user", "content": text}] for text in PROMPTS[:prompts]],
        response=[" is"] * prompts,
        template_options={"word": "XYZ"[index]},
        method="integrated_gradients",
        steps=3,
    )


def other_tokenizer(index):
    """The same call, but each process's tokenizer puts another word before the prompt."""
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "XYZ"[index] + "{% for m in messages %}{{ m.content }}{% endfor %}"
    own = Explainer(tiny.model("llama"), tokenizer, distributed=True)
    return own.explain(
        [{"role": "user", "content": "the key"}],
        response=" is",
        method="integrated_gradients",
        steps=3,
    )


def other_special(index):
    """The same ids, of which the second process's tokenizer takes one for special: it stays put."""
    model, ids = tiny.model("llama"), tiny.tokenizer()("the key is red")["input_ids"]
    tokenizer = tiny.tokenizer()
    if index == 1:
        apart = tokenizer.convert_ids_to_tokens(ids[-2])
        tokenizer.add_special_tokens({"extra_special_tokens": [apart]})
    own = Explainer(model, tokenizer, distributed=True)
    return own.explain("the key is red", response=" in", method="integrated_gradients", steps=3)


def other_target(index):
    """Functions of the same name that are not the same."""
    targets = [lambda logits, ids: logits.gather(-1, ids[:, None])[:, 0]]
    targets += [lambda logits, ids: logits.logsumexp(-1)]
    return explain(
        response=" in the", target=targets[index == 1], method="integrated_gradients", steps=3
    )


def other_type(index):
    """The second process computes in float64, so that its tensors cannot be exchanged."""
    model = tiny.model("llama")
    own = Explainer(model.double() if index == 1 else model, tiny.tokenizer(), distributed=True)
    return own.explain("the key is red", response=" in the", method="integrated_gradients", steps=3)


def other_weights(index):
    """The second process has a head of its own."""
    model = tiny.model("llama")
    if index == 1:
        model.lm_head.weight.data *= 1.1
    own = Explainer(model, tiny.tokenizer(), distributed=True)
    return own.explain("the key is red", response=" in the", method="integrated_gradients", steps=3)


#: What differs between the processes on purpose, given the index of one.
OWN = {
    "sampled": sampled,
    "interrupted": interrupted,
    "after a failure": lambda index: SAME["fixed rule"](),
    "other prompts": lambda index: explain(
        PROMPTS[index], response=" red", method="integrated_gradients", steps=2
    ),
    "other steps": lambda index: explain(
        response=" in", method="integrated_gradients", steps=5 + index
    ),
    "other batch sizes": lambda index: explainer(batch_size=1 + index).explain(
        "the key is red", response=" in the", method="integrated_gradients", steps=7
    ),
    "other windows": other_windows,
    "other template": lambda index: other_template(index, 1),
    "other template, dealt out": lambda index: other_template(index, 5),
    "other generation, dealt out": lambda index: explain(
        PROMPTS, max_new_tokens=2 + index, method="integrated_gradients", steps=2
    ),
    "other tokenizer": other_tokenizer,
    "other special token": other_special,
    "other target": other_target,
    "other type": other_type,
    "other weights": other_weights,
    "other large baseline": lambda index: given(1e-6 * index),
    "one bad prompt": lambda index: explain(
        [*PROMPTS[:2], ""], response=["!"] * 3, method="integrated_gradients", steps=2
    ),
    "one bad model": bad_model,
    "short of memory": short_of_memory,
    "after all": lambda index: SAME["fixed rule"](),
}


def outcome(case):
    """Return the results of a case as JSON, or the error it ends with."""
    try:
        found = case()
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    results = found if isinstance(found, list) else [found]
    return {"results": [to_json(result) for result in results]}


def rows_run(case):
    """Return how many rows this process itself runs in a case."""
    counts = []
    body = explainer().model.model
    handle = body.register_forward_pre_hook(
        lambda module, args, inputs: counts.append(len(inputs["input_ids"])), with_kwargs=True
    )
    case()
    handle.remove()
    return sum(counts)


def radii():
    """How far each token of one answer, and of three, withstands an attack."""
    options = {"max_new_tokens": 3, "bisections": 2, "steps": 3}
    results = [explainer().robustness(PROMPTS[0], **options)]
    results += explainer().robustness(PROMPTS[:3], **options)
    return [result.radius.tolist() for result in results]


def work(index, count, folder):
    """Be one of the processes."""
    warnings.simplefilter("ignore")
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=index,
        world_size=count,
        timeout=timedelta(seconds=60),
    )
    found = {name: outcome(case) for name, case in SAME.items()}
    found |= {name: outcome(lambda case=case: case(index)) for name, case in OWN.items()}
    found["rows run"] = rows_run(
        lambda: explain(response=" in the", method="integrated_gradients", steps=12)
    )
    found["radii"] = radii()
    (folder / f"{index}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()


def main():
    count, folder = int(sys.argv[1]), Path(sys.argv[2])
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=work, args=(i, count, folder)) for i in range(count)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    sys.exit(any(process.exitcode for process in started))


if __name__ == "__main__":
    main()
