"""What citations cost next to other libraries: 6 passages of 100 tokens, 64 tokens of answer.

    pip install "hf_attrib[bench]" context-cite==0.0.4
    python benchmarks/citation_costs.py

Ours is the whole of `model.passages`: checks, the table of all 64 subsets, scores, citations.
context-cite makes as many ablations, which is its default; captum leaves out one passage at a
time, which takes 7 rows and tells less. All run in one process on one thread; rounds are
interleaved, the first only warms up, and the best counts.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peers import machine
from subjects import Subject, random_llama
from torch import Tensor

from hf_attrib import AttributionWarning, Explainer

RESULTS = Path(__file__).parent / "results"
PASSAGES, LENGTH, QUESTION, ABLATIONS = 6, 100, 20, 64
ANSWERS = (16, 64)
MODES = ("embed", "drop")
CONTEXT_CITE = "context-cite, 64 ablations"
Run = Callable[[], Any]


def subject(targets: int) -> Subject:
    """Return six passages, a question and an answer, all of words that are one token each."""
    return random_llama(targets, PASSAGES * LENGTH + QUESTION)


def passages(of: Subject) -> list[tuple[int, int]]:
    """Return the tokens of each passage."""
    return [(k * LENGTH, (k + 1) * LENGTH) for k in range(PASSAGES)]


def ours(of: Subject, mode: str) -> Run:
    explainer = Explainer(of.model, of.tokenizer)
    given = {"response_ids": of.response_ids, "groups": passages(of), "mode": mode}

    def run() -> Any:
        found = explainer.passages(input_ids=of.prompt_ids, **given)
        return found.documents, found.citations()

    return run


def context_cite(of: Subject) -> Run:
    """Return context-cite's run of the same passages, question and answer."""
    from context_cite import ContextCiter
    from context_cite.context_partitioner import BaseContextPartitioner

    words = [f" {w}" for w in of.prompt.split(" ") if w]
    texts = ["".join(words[k * LENGTH : (k + 1) * LENGTH]) for k in range(PASSAGES)]
    question = "".join(words[PASSAGES * LENGTH :])
    tokenizer = copy.copy(of.tokenizer)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"

    class Given(BaseContextPartitioner):
        """The passages as they are."""

        num_sources = PASSAGES

        def split_context(self) -> None: ...

        def get_source(self, index: int) -> str:
            return texts[index]

        def get_context(self, mask: Any = None) -> str:
            return "".join(t for k, t in enumerate(texts) if mask is None or mask[k])

    def run() -> Any:
        context = "".join(texts)
        citer = ContextCiter(
            of.model, tokenizer, context, question, num_ablations=ABLATIONS,
            prompt_template="{context}{query}", partitioner=Given(context),
        )  # fmt: skip
        # The answer is given, as it is to the others, and not generated once more.
        citer._cache["output"] = context + question + of.response
        if len(citer._response_ids) != len(of.response_ids):
            raise ValueError("context-cite reads another answer")
        return citer.get_attributions(verbose=False)

    return run


def captum(of: Subject) -> Run:
    """Return captum's leaving out of each passage, for all tokens of the answer in one pass."""
    from captum.attr import FeatureAblation

    prompt, answer = torch.tensor([of.prompt_ids]), torch.tensor(of.response_ids)
    keep = torch.arange(prompt.shape[1] - 1, prompt.shape[1] + len(answer) - 1)
    mask = torch.full_like(prompt, PASSAGES)
    for k, (start, stop) in enumerate(passages(of)):
        mask[:, start:stop] = k

    @torch.no_grad()
    def forward(ids: Tensor) -> Tensor:
        whole = torch.cat([ids, answer[:-1].expand(len(ids), -1)], 1)
        logits = of.model(whole, use_cache=False, logits_to_keep=keep).logits
        return logits.log_softmax(-1)[:, torch.arange(len(answer)), answer].sum(1)

    method = FeatureAblation(forward)
    return lambda: method.attribute(prompt, baselines=of.baseline, feature_mask=mask)


def contests(of: Subject) -> dict[str, Run]:
    """Return who runs; ours come first, and theirs behind."""
    return {
        **{f"hf_attrib, mode {mode}": ours(of, mode) for mode in MODES},
        CONTEXT_CITE: context_cite(of),
        "captum FeatureAblation, 7 rows": captum(of),
    }


def timed(runs: Mapping[str, Run], repeats: int) -> dict[str, float]:
    """Return CPU seconds of the best round of each."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            started = time.process_time()
            run()
            seconds[name].append(time.process_time() - started)
            print(f"round {turn} {name:32} {seconds[name][-1]:8.3f} s of CPU", flush=True)
    return {name: min(taken[1:]) for name, taken in seconds.items()}


def main() -> None:
    """Run rounds, print the table, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="rounds after one to warm up")
    parser.add_argument("--answers", type=int, nargs="*", default=ANSWERS, help="tokens of answer")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    warnings.simplefilter("ignore", AttributionWarning)
    report = {
        "model": "llama6",
        "repeats": options.repeats,
        "machine": machine(1) | {"context_cite": version("context-cite")},
        "answers": {
            str(targets): timed(contests(subject(targets)), options.repeats)
            for targets in options.answers
        },
    }
    stem = RESULTS / "citation-costs"
    stem.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report))


def markdown(report: Mapping[str, Any]) -> str:
    """Lay the report out as a table."""
    found, about = report["answers"], report["machine"]
    lines = [
        f"Model `{report['model']}`, {PASSAGES} passages of {LENGTH} tokens and a question of "
        f"{QUESTION}; best of {report['repeats']} interleaved rounds. {about['processor']}, "
        f"{about['threads']} thread. context-cite {about['context_cite']}.",
        "",
        "| tokens of answer | who | seconds of CPU | of context-cite's |",
        "|---:|---|---:|---:|",
    ]
    for targets, seconds in found.items():
        theirs = seconds[CONTEXT_CITE]
        lines += [
            f"| {targets} | {name} | {own:.2f} | {own / theirs:.2f} |"
            for name, own in seconds.items()
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
