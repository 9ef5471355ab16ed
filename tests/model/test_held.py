"""What a model remembers is put back wherever it is held, and what others put there stays."""

import copy
import time
from collections import OrderedDict, deque
from threading import Event, Thread
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import tiny
from torch import nn

from hf_attrib import Explainer, UnsupportedModelError
from hf_attrib.model.state import state_restored

QUICK = {"method": "saliency"}


class Longest:
    """The longest pass so far, kept by an object of the model's own."""

    def __init__(self, length):
        self.length = length

    def keep(self, length):
        self.length = max(self.length, length)


def in_a_namespace(memory, length):
    memory.longest = length


def in_a_dict(memory, length):
    memory["layers"][0]["longest"] = length


def in_order(memory, length):
    memory["longest"] = length
    memory.move_to_end("longest")


def in_a_new_key(memory, length):
    memory[length] = length


def in_a_deque(memory, length):
    memory.append(length)


def in_a_set(memory, length):
    memory[0].add(length)


def in_an_array(memory, length):
    memory[0] = length


def in_a_tensor(memory, length):
    memory[0]["a"].add_(length)


def in_an_object(memory, length):
    memory[0].inner.keep(length)


def in_a_module(memory, length):
    memory[0].longest = length


#: What holds the memory, and how a pass writes to it.
MEMORIES = {
    in_a_namespace: SimpleNamespace(longest=8),
    in_a_dict: {"layers": [{"longest": 8}]},
    in_order: OrderedDict(longest=8, other=1),
    in_a_new_key: {8: 8},
    in_a_deque: deque([8], maxlen=2),
    in_a_set: ({8},),
    in_an_array: np.array([8.0]),
    in_a_tensor: [{"a": torch.tensor([8.0])}],
    in_an_object: (SimpleNamespace(inner=Longest(8)),),
    in_a_module: [nn.Identity()],
}


def plain(value):
    """Everything in a memory that can be compared."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | deque):
        return [plain(one) for one in value]
    if hasattr(value, "__dict__"):
        return {k: plain(v) for k, v in vars(value).items() if not k.startswith("_")}
    return value


@pytest.mark.parametrize("write", MEMORIES)
def test_what_a_pass_writes_is_put_back_wherever_it_is_held(write):
    module, lengths = nn.Linear(2, 2), iter(range(20, 90))
    module.memory = copy.deepcopy(MEMORIES[write])
    held = module.memory
    for _ in range(2):  # when it is known as well
        with state_restored(module, lambda: write(module.memory, next(lengths))):
            write(module.memory, next(lengths))
            assert plain(module.memory) != plain(MEMORIES[write])
        assert module.memory is held
        assert plain(module.memory) == plain(MEMORIES[write])


def test_a_model_with_a_memory_is_explained_as_if_nothing_was_before():
    def remembering():
        model = tiny.model("llama")
        norm = model.model.layers[0].input_layernorm
        norm.memory = (SimpleNamespace(inner=Longest(8)),)

        def hook(module, args, output):
            memory = module.memory[0].inner
            memory.keep(output.shape[1])
            return output * (1 + 0.02 * memory.length)

        norm.register_forward_hook(hook)
        return model, norm.memory[0].inner

    model, memory = remembering()
    explainer, short = Explainer(model), {"input_ids": tiny.ids(6), "response_ids": [70]}
    explainer.explain(input_ids=tiny.ids(40), response_ids=[71], **QUICK)
    found = explainer.explain(**short, **QUICK)
    expected = Explainer(remembering()[0]).explain(**short, **QUICK)
    assert memory.length == 8
    assert torch.equal(found.value, expected.value)


def longest(seen, states):
    seen[:] = [max([20, *seen, states.shape[1]])]  # which the self-check does not reach
    return 0.02 * seen[0]


def last(seen, states):
    before, seen[:] = sum(seen), [float(states.detach().mean())]
    return before


def count(seen, states):
    seen.append(1)
    return 0.01 * len(seen)


@pytest.mark.parametrize("prompt", [30, 31])
@pytest.mark.parametrize("response", [1, 5])
@pytest.mark.parametrize("memory", [longest, last, count])
def test_what_cannot_be_put_back_is_refused(memory, prompt, response):
    """A variable of a function remembers, which no look at a module finds."""
    model, seen = tiny.model("llama", num_hidden_layers=1), []
    model.model.norm.register_forward_hook(
        lambda module, args, output: output * (1 + memory(seen, output))
    )
    explainer = Explainer(model)
    for length in (prompt, prompt, 6):  # afterwards, it computes the same for another reason
        with pytest.raises(UnsupportedModelError, match=r"over the same \d+ tokens.* remembers"):
            explainer.explain(
                input_ids=tiny.ids(length), response_ids=tiny.ids(response, seed=1), **QUICK
            )


def test_a_refusal_lasts_as_long_as_its_cause():
    """A hook that a long pass has switched goes on switched; without it, the model is mended."""
    model, seen = tiny.model("llama", num_hidden_layers=1), []
    handle = model.model.norm.register_forward_hook(
        lambda module, args, output: output * (1 + longest(seen, output))
    )
    explainer = Explainer(model)
    asked = {"input_ids": tiny.ids(30), "response_ids": tiny.ids(3, seed=1), **QUICK}
    for _ in range(2):
        with pytest.raises(UnsupportedModelError, match="remembers its passes where"):
            explainer.explain(**asked)
    handle.remove()
    plain = Explainer(tiny.model("llama", num_hidden_layers=1)).explain(**asked)
    torch.testing.assert_close(explainer.explain(**asked).scores, plain.scores)


def test_what_changes_by_itself_is_not_taken_for_a_memory():
    """Once it is left alone, it is explained: noise that stops, and a thread that trains."""
    model, on = tiny.model("llama", num_hidden_layers=1), []
    model.model.norm.register_forward_hook(
        lambda module, args, output: output + (len(on) and output.shape[1] > 3) * torch.randn(1)
    )
    explainer = Explainer(model)
    asked = {"input_ids": tiny.ids(30), "response_ids": tiny.ids(3, seed=1), **QUICK}
    explainer.explain(**asked | {"input_ids": tiny.ids(8)})
    on.append(1)
    with pytest.raises(UnsupportedModelError, match=r"else (each time|when the same tokens)"):
        explainer.explain(**asked)
    on.clear()
    explainer.explain(**asked)

    trained = []

    def train(module, args, output):
        if output.shape[1] > 35 and not trained:
            trained.append(module.weight.data_ptr())
            with torch.no_grad():
                module.weight.mul_(1.5)

    handle = model.model.norm.register_forward_hook(train)
    longer = asked | {"input_ids": tiny.ids(40)}
    with pytest.raises(UnsupportedModelError, match=r"weights of .* changed"):
        explainer.explain(**longer)
    handle.remove()
    explainer.explain(**longer)


class Adapted(nn.Module):
    """Remembers its passes, and has adapters."""

    def __init__(self):
        super().__init__()
        self.mode, self.ranks = "sparse", {"a": 1}
        self.adapters = nn.ModuleDict({"a": nn.Linear(1, 1), "b": nn.Identity()})
        self.adapter = nn.Linear(1, 1)

    def forward(self):
        self.mode = "full"


@pytest.mark.parametrize("weights", [False, True])
def test_modules_that_come_and_go_are_never_put_back(weights):
    """Not for the time of a pass: whoever brought them may look meanwhile."""
    module, made, seen = Adapted(), nn.Bilinear(1, 1, 1), []

    def again():
        module()
        seen.append(({*module.adapters}, module.adapter is made))

    with state_restored(module, again):
        module()
        del module.adapters["b"]
        module.adapters["c"] = nn.Identity()
        if weights:
            del module.adapters["a"]
            module.adapter = made
    again()
    assert all(found == seen[-1] for found in seen)
    assert seen[-1] == (({"c"}, True) if weights else ({"a", "c"}, False))
    assert len(seen) == (1 if weights else 3)  # with other weights, nothing can be found out


def test_what_another_thread_puts_there_is_there_whenever_it_looks():
    module, stop, lost = Adapted(), Event(), []

    def work():
        for n in range(10_000):
            module.ranks[n] = n
            module.registry = {n: module.ranks}
            time.sleep(0.002)
            if n not in module.ranks or n not in module.registry:
                lost.append(n)
            if stop.is_set():
                return

    thread = Thread(target=work)
    thread.start()
    try:
        for _ in range(4):
            with state_restored(module, module.forward):
                module()
                time.sleep(0.01)
    finally:
        stop.set()
        thread.join()
    assert not lost


def test_what_one_pass_of_several_does_not_repeat_is_not_the_models_own():
    """A slow thread changes something now and then, perhaps while a pass is run again."""
    module, passes = Adapted(), []
    module.requests = 0

    def again():
        module()
        passes.append(1)
        if len(passes) == 1:
            module.requests += 1

    with state_restored(module, again):
        module()
        module.requests = 7
    assert (module.mode, module.requests, len(passes)) == ("sparse", 7, 2)
    with state_restored(module, again):
        module()
        module.requests = 8
    assert (module.mode, module.requests, len(passes)) == ("sparse", 8, 2)


def test_what_cannot_be_looked_at_is_left_alone():
    """A proxy of nothing raises whatever it is asked, and so may the name of a key."""

    class Nowhere:
        @property
        def __dict__(self):
            raise RuntimeError("bound to nothing")

    class Nameless:
        def __repr__(self):
            raise ZeroDivisionError

    model = tiny.model("llama")
    model.proxy, model.table = Nowhere(), {Nameless(): [1], "x" * 10**6: [2]}
    found = Explainer(model).explain(
        input_ids=tiny.ids(5), response_ids=tiny.ids(2, seed=1), method="saliency"
    )
    assert bool(found.scores.any())
