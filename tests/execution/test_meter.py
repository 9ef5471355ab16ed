"""The meter sees all memory that tensors take, and gets in nobody's way."""

import gc
import sys

import pytest
import torch

from hf_attrib.execution import Meter

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


def test_an_interrupt_where_a_tensor_ends_is_not_lost():
    """Python drops what its functions raise there, so none may run."""
    called = []
    with Meter():
        tensor = torch.ones(10)
        sys.setprofile(lambda frame, event, _: called.append((event, frame.f_code.co_name)))
        try:
            del tensor
        finally:
            sys.setprofile(None)
    assert [name for event, name in called if event == "call"] == []


def test_the_meter_counts_what_lives_at_once():
    weight = torch.ones(100, 100, requires_grad=True)
    with Meter() as meter:
        a = torch.ones(1000)  # 4,000 bytes
        view = a[:10].view(2, 5)
        assert sum(meter.peak.values()) == 4000
        del a  # its memory is the view's
        b = torch.ones(500)
        assert sum(meter.peak.values()) == 6000
        del view, b
        c = torch.ones(250)
        assert sum(meter.peak.values()) == 6000
        torch.ones(10**6, device="meta")  # a shape without memory
        transposed = weight.t()  # what was there before does not count
        assert sum(meter.peak.values()) == 6000
        x = torch.ones(100, 100).requires_grad_()
        kept = (x @ transposed).exp().sum()  # the product dies, its exponential is kept
        gc.collect()
        large = torch.ones(10**6)  # more than ever lived before, beside what lives still
        assert sum(meter.peak.values()) == 4 * (10**6 + 250 + 10_000 + 10_000 + 1)
        kept.backward()
    del c, large
