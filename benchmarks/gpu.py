"""One command for whatever accelerator there is: its tests, and rows a second next to a bare loop.

    python benchmarks/gpu.py

On CUDA the model has the shape of Llama 3 8B in bfloat16, with random weights that are made on the
device; on another device, and on the CPU, it is small. Measured are ablations, which run forward
only, and integrated gradients, next to loops over transformers alone that run as many rows at
once; both again with compiled layers, the CPU aside, of which `compiled.py` tells; and, where there
are two devices, two processes. Results go to `results/device-NAME.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peers import RESULTS, machine
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from hf_attrib import Explainer

ROOT = Path(__file__).parent.parent
NODES = 8
LARGE = {
    "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
}  # fmt: skip
SMALL = {
    "vocab_size": 512, "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
#: By the size of the model, tokens of the prompt and of the answer, and rows at once.
LENGTHS = {"large": (512, 16, 8), "small": (48, 4, 8)}


def accelerator() -> torch.device:
    """Return the accelerator that is there, else the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if found is None else found


def name_of(device: torch.device) -> str:
    """Return what the device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return str(machine(1)["processor"]) if device.type == "cpu" else device.type


def model_on(device: torch.device, size: str) -> Any:
    """Return a model that nobody trained, made on its device."""
    torch.manual_seed(0)
    own = LARGE if size == "large" else SMALL
    config = LlamaConfig(**own, bos_token_id=1, eos_token_id=1, pad_token_id=1)
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if size == "large" else torch.float32)
    try:
        with device:
            return LlamaForCausalLM(config).eval()
    finally:
        torch.set_default_dtype(usual)


def ids_of(size: str) -> tuple[list[int], list[int], int]:
    """Return ids of the prompt and of the answer, and how many rows run at once."""
    prompt, answer, rows = LENGTHS[size]
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(2, 512, (prompt + answer,), generator=draw).tolist()
    return ids[:prompt], ids[prompt:], rows


def synchronised(device: torch.device) -> None:
    """Wait for what runs on a device."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def rate(device: torch.device, run: Callable[[], int]) -> float:
    """Return rows a second of the better of two runs, after one to warm up."""
    run()
    best = 0.0
    for _ in range(2):
        synchronised(device)
        started = time.perf_counter()
        rows = run()
        synchronised(device)
        best = max(best, rows / (time.perf_counter() - started))
    return best


def ours(model: Any, size: str, distributed: bool = False) -> dict[str, Callable[[], int]]:
    """Return runs of ours that say how many rows they took."""
    prompt, answer, rows = ids_of(size)
    explainer = Explainer(model, batch_size=rows, distributed=distributed)
    asked: dict[str, Any] = {"input_ids": prompt, "response_ids": answer}
    spans = [(k, k + 8) for k in range(0, len(prompt), 8)]

    def forward() -> int:
        found = explainer.explain(**asked, method="shapley", samples=4, groups=spans)
        return int(found.run.forward_rows)

    def gradient() -> int:
        found = explainer.explain(**asked, method="integrated_gradients", steps=NODES)
        return int(found.run.backward_rows)

    return {"forward": forward, "gradient": gradient}


def bare(model: Any, size: str) -> dict[str, Callable[[], int]]:
    """Return loops over transformers alone, for as many rows at once."""
    prompt, answer, rows = ids_of(size)
    count = len(answer)
    ids = torch.tensor([prompt + answer[:-1]]).to(model.device)
    wanted = torch.tensor(answer).to(model.device)
    points = model.get_input_embeddings()(ids).detach()

    def log_prob(inputs: Tensor) -> Tensor:
        logits = model(inputs_embeds=inputs, use_cache=False, logits_to_keep=count).logits
        return logits.float().log_softmax(-1)[:, torch.arange(count), wanted]

    def forward() -> int:
        with torch.no_grad():
            for _ in range(4):
                log_prob(points.expand(rows, -1, -1)).cpu()
        return 4 * rows

    def gradient() -> int:
        nodes = points.expand(min(rows, NODES), -1, -1).clone().requires_grad_()
        value = log_prob(nodes)
        for target in range(count):
            torch.autograd.grad(value[:, target].sum(), nodes, retain_graph=True)[0].sum(-1).cpu()
        return len(nodes) * count

    return {"forward": forward, "gradient": gradient}


def measured(device: torch.device, size: str) -> dict[str, Any]:
    """Return rows a second, ours and bare, as they are and with compiled layers."""
    model = model_on(device, size).requires_grad_(False)
    found: dict[str, Any] = {}
    for how in ("as it is", "compiled") if device.type != "cpu" else ("as it is",):
        if how == "compiled":
            torch._functorch.config.donated_buffer = False  # T pullbacks share a forward pass
            torch._dynamo.config.recompile_limit = 32
            for layer in model.model.layers:
                layer.compile(dynamic=True)
        found[how] = {
            f"{kind}, {who}": rate(device, run)
            for who, runs in (("ours", ours(model, size)), ("bare", bare(model, size)))
            for kind, run in runs.items()
        }
        print(how, found[how], flush=True)
    return found


def worker(size: str) -> None:
    """Share rows with the other processes of ``torchrun``, and let the first say how fast."""
    rank, device = int(os.environ["LOCAL_RANK"]), accelerator()
    if device.type == "cuda":
        torch.cuda.set_device(rank)
        device = torch.device("cuda", rank)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    runs = ours(model_on(device, size).requires_grad_(False), size, distributed=True)
    found = {kind: rate(device, run) for kind, run in runs.items()}
    torch.distributed.destroy_process_group()
    if rank == 0:
        print("RESULT", json.dumps(found))


def together(size: str) -> dict[str, float]:
    """Return rows a second of two processes."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *command, __file__, "--worker", size],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    line = next(li for li in done.stdout.splitlines() if "RESULT" in li)
    found: dict[str, float] = json.loads(line.split("RESULT", 1)[1])
    return found


def tested() -> str:
    """Run the tests of devices, and return what pytest says of them in the end."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "device", "tests/model"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines()[-1]


def main() -> None:
    """Run all of it, print the table, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", choices=list(LENGTHS), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.worker:
        worker(options.worker)
        return
    device = accelerator()
    size = "large" if device.type == "cuda" else "small"
    report: dict[str, Any] = {
        "device": name_of(device), "kind": device.type, "model": size,
        "tokens": LENGTHS[size][:2], "rows at once": LENGTHS[size][2],
        "machine": machine(torch.get_num_threads()), "tests": tested(),
    }  # fmt: skip
    report["rows a second"] = measured(device, size)
    if device.type == "cpu" or torch.accelerator.device_count() > 1:
        report["two processes"] = together(size)
    plain = re.sub(r"[^a-z0-9]+", "-", report["device"].lower()).strip("-")
    stem = options.out / f"device-{plain}"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report))


def markdown(report: Mapping[str, Any]) -> str:
    """Lay the figures out as a table."""
    prompt, answer = report["tokens"]
    lines = [
        f"# {report['device']}", "",
        f"A {report['model']} Llama of random weights, {prompt} tokens of prompt and {answer} of "
        f"answer, {report['rows at once']} rows at once. Ours are whole calls with all checks of "
        "the model's passes, which weigh the more the fewer rows there are; the loops run rows "
        f"alone. Load average {report['machine']['load_average']:.0f} on "
        f"{report['machine']['cores']} cores. Tests of devices: {report['tests']}.", "",
        "| rows a second | ours | bare loop | ours / bare |", "|---|--:|--:|--:|",
    ]  # fmt: skip
    for how, found in report["rows a second"].items():
        for kind in ("forward", "gradient"):
            own, loop = found[f"{kind}, ours"], found[f"{kind}, bare"]
            lines.append(f"| {kind}, {how} | {own:.1f} | {loop:.1f} | {own / loop:.2f} |")
    for kind, own in report.get("two processes", {}).items():
        lines.append(f"| {kind}, two processes | {own:.1f} | | |")
    return "\n".join([*lines, "", "By `benchmarks/gpu.py`.", ""])


if __name__ == "__main__":
    main()
