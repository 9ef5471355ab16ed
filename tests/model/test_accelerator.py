"""On an accelerator, scores are those of the CPU; and what measures one runs anywhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import tiny

from hf_attrib import Explainer

GPU = Path(__file__).parents[2] / "benchmarks" / "gpu.py"
METHODS = ("loo_shapley", "integrated_gradients", "occlusion(mode=token)", "saliency")


@pytest.mark.device
@pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "t5"])
def test_scores_are_those_of_the_cpu(family, method):
    device = torch.accelerator.current_accelerator(check_available=True)
    if device is None:
        pytest.skip("no accelerator is there")
    model = tiny.model(family)
    asked = {"input_ids": tiny.ids(12), "response_ids": tiny.ids(3, seed=1), "method": method}
    asked |= {"baseline": 3}
    here = Explainer(model).explain(**asked).scores
    there = Explainer(model.to(device)).explain(**asked).scores
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-4 * float(here.abs().max()))


@pytest.mark.slow
def test_one_command_measures_whatever_device_there_is(tmp_path):
    subprocess.run([sys.executable, str(GPU), "--out", str(tmp_path)], check=True, timeout=540)
    (report,) = (json.loads(path.read_text()) for path in tmp_path.glob("device-*.json"))
    assert report["device"]
    rates = report["rows a second"]
    assert "as it is" in rates
    assert all(rate > 0 for found in rates.values() for rate in found.values())
