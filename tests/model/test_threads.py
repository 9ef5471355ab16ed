"""While one thread explains a model, others run it: each gets its own right numbers."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
from helpers import tiny
from helpers.residue import prepared
from torch.nn import functional

from hf_attrib import Explainer, UnsupportedModelError
from hf_attrib.field.directions import derivative
from hf_attrib.model import isolated

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
PROMPT, ANSWER = tiny.ids(9), tiny.ids(6, seed=1)
QUESTION = {
    "input_ids": PROMPT,
    "response_ids": ANSWER,
    "method": "integrated_gradients",
    "steps": 8,
}


@contextmanager
def meanwhile(run):
    """Call ``run`` in another thread again and again; its results, or the first error, are told."""
    found, errors, stop = [], [], threading.Event()

    def loop():
        while not stop.is_set() and not errors:
            try:
                found.append(run())
            except Exception as error:
                errors.append(error)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join()
    assert not errors
    assert found


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "t5", "bart", "mamba"])
def test_a_server_and_an_explanation_get_their_own_numbers(family):
    model = tiny.model(family)
    explainer = Explainer(model, batch_size=1)
    options = QUESTION | {"groups": [(0, 4), (4, 9)]}  # gradients, and directions where they pay
    wanted = explainer.explain(**options)
    asked = [torch.tensor([tiny.ids(n, seed=n)]) for n in (9, 40)]
    more = {"decoder_input_ids": asked[0]} if model.config.is_encoder_decoder else {}

    def serve():
        with torch.no_grad():
            return [model(ids, **more).logits for ids in asked]

    right = serve()
    with meanwhile(serve) as served:
        found = [explainer.explain(**options) for _ in range(3)]
    for answer in served:
        for logits, expected in zip(answer, right, strict=True):
            torch.testing.assert_close(logits, expected)
    for one in found:
        torch.testing.assert_close(one.scores, wanted.scores)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_gradients_of_another_thread_are_whole(family):
    model = tiny.model(family)
    ids = torch.tensor([PROMPT])
    more = {"decoder_input_ids": ids} if model.config.is_encoder_decoder else {}
    weights = list(model.parameters())

    def gradients():
        loss = model(ids, **more).logits.logsumexp(-1).sum()
        return torch.autograd.grad(loss, weights, allow_unused=True)

    right = gradients()
    explainer = Explainer(model)
    with meanwhile(gradients) as found:
        explainer.explain(**QUESTION)
    for each in found:
        for gradient, expected in zip(each, right, strict=True):
            torch.testing.assert_close(gradient, expected)


def test_a_pool_of_threads_explains_and_generates():
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    explainer = Explainer(model, tokenizer)
    texts = ["Ada's key is red", "the key is blue and so on", "Bob was born in 19"]
    ids = [tokenizer(text, return_tensors="pt").input_ids for text in texts]

    def explain(text):
        return explainer.explain(
            text, max_new_tokens=4, method="integrated_gradients", steps=8
        ).scores

    def generate(prompt):
        return model.generate(prompt, max_new_tokens=6)

    wanted, written = list(map(explain, texts)), list(map(generate, ids))
    with ThreadPoolExecutor(4) as pool:
        scores, answers = pool.map(explain, texts * 2), pool.map(generate, ids * 2)
        for found, expected in zip(scores, wanted * 2, strict=True):
            torch.testing.assert_close(found, expected)
        for found, expected in zip(answers, written * 2, strict=True):
            assert torch.equal(found, expected)


def test_a_web_server_explains_and_generates():
    fastapi, testing = pytest.importorskip("fastapi"), pytest.importorskip("fastapi.testclient")
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    explainer, app = Explainer(model, tokenizer), fastapi.FastAPI()

    @app.get("/explain")
    def explain(text: str):
        return explainer.explain(
            text, max_new_tokens=3, method="integrated_gradients", steps=8
        ).scores.tolist()

    @app.get("/generate")
    def generate(text: str):
        return model.generate(
            tokenizer(text, return_tensors="pt").input_ids, max_new_tokens=4
        ).tolist()

    client = testing.TestClient(app)

    def ask(path):
        return client.get(path, params={"text": "the key is"}).json()

    paths = ["/explain", "/generate"] * 3
    wanted = {path: ask(path) for path in paths}
    with ThreadPoolExecutor(4) as pool:
        for path, found in zip(paths, pool.map(ask, paths), strict=True):
            torch.testing.assert_close(torch.tensor(found), torch.tensor(wanted[path]))


def test_training_meanwhile_is_refused_in_words():
    model = tiny.model("llama", attention_dropout=0.5)

    def passes():
        model.train()
        model(torch.tensor([PROMPT]))
        model.eval()

    explainer = Explainer(model)
    with meanwhile(passes), pytest.raises(UnsupportedModelError, match="training mode"):
        [explainer.explain(**QUESTION) for _ in range(20)]


@torch.no_grad()
def test_weights_that_change_meanwhile_are_refused_in_words():
    model = tiny.model("llama")
    explainer = Explainer(model, progress=lambda *_: model.lm_head.weight.add_(0.1))
    with pytest.raises(UnsupportedModelError, match="weights of LlamaForCausalLM changed"):
        explainer.explain(**QUESTION)


def test_weights_are_frozen_here_and_nowhere_else():
    model, _ = prepared("llama")
    flags = [parameter.requires_grad for parameter in model.parameters()]
    with isolated(model), isolated(model), ThreadPoolExecutor(1) as pool:
        assert not model.model.embed_tokens.weight.requires_grad
        elsewhere = pool.submit(lambda: model.model.embed_tokens.weight).result()
        assert elsewhere.requires_grad
        assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(type(module._parameters) is dict for module in model.modules())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags


def test_attention_of_other_threads_stays_fused():
    q = torch.randn(1, 2, 5, 4)

    def attend(x):
        with ThreadPoolExecutor(1) as pool:
            flags.append(pool.submit(torch.backends.cuda.flash_sdp_enabled).result())
            elsewhere = pool.submit(functional.scaled_dot_product_attention, q, q, q).result()
        assert torch.equal(elsewhere, expected)
        mask = torch.tensor([True, True, False, True, True])
        return functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)

    flags, before = [], functional.scaled_dot_product_attention
    expected = before(q, q, q)
    derivative(attend, q, torch.ones_like(q))
    assert flags == [True]
    assert functional.scaled_dot_product_attention is before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("place", ["pass", "direction"])
def test_a_process_forked_while_another_thread_explains_goes_on(place):
    model = tiny.model("llama").train()
    wanted = Explainer(model).explain(**QUESTION).scores
    reached, forked = threading.Event(), threading.Event()

    def hold(*_):
        if threading.current_thread() is thread and not reached.is_set():
            reached.set()
            forked.wait(60)

    def explain():
        if place == "pass":
            Explainer(model).explain(**QUESTION)
        else:
            with isolated(model):
                derivative(lambda x: (hold(), x * x)[1], torch.ones(1, 2, 2), torch.ones(1, 2, 2))

    thread = threading.Thread(target=explain)
    handle = model.model.norm.register_forward_hook(hold)
    thread.start()
    assert reached.wait(60)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ours = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
            clean = sum(ours) == 1 and all(m.training for m in model.modules())
            clean = clean and model.lm_head.weight.requires_grad
            same = torch.allclose(Explainer(model).explain(**QUESTION).scores, wanted)
            code = 0 if clean and same else 2
        finally:
            os._exit(code)
    forked.set()
    thread.join()
    handle.remove()
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0
