"""The same question put to each library: N nodes, T tokens, integrated gradients of log p.

A contestant prepares itself on a subject and returns a function to be timed, which returns
scores [T, P], or ``None`` where its convention is another and the numbers are not comparable.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np
import torch
from subjects import Subject
from torch import Tensor

from hf_attrib import AttributionWarning, Explainer

NODES = 32

Contestant: TypeAlias = Callable[[Subject], Callable[[], Tensor | None]]


def rows_at_once(subject: Subject) -> int:
    """Return how many sequences hf_attrib runs at once by default; the floor does the same."""
    return max(1, 1024 // (len(subject.prompt_ids) + len(subject.response_ids) - 1))


def ours(subject: Subject, **rule: Any) -> Callable[[], Tensor]:
    explainer = Explainer(subject.model)
    question = {
        "input_ids": subject.prompt_ids,
        "response_ids": subject.response_ids,
        "baseline": subject.baseline,
        "movable": subject.moves,
        "method": "integrated_gradients",
        **(rule or {"rule": "gauss_legendre", "steps": NODES}),
    }

    def run() -> Tensor:
        with warnings.catch_warnings():
            # Nobody else says how far from convergence they are.
            warnings.simplefilter("ignore", AttributionWarning)
            return explainer.explain(**question).scores

    return run


def floor(subject: Subject, count: int = NODES) -> Callable[[], Tensor]:
    """Write by hand what cannot be avoided: N forwards, N T backwards, the logits needed."""
    model = subject.model.requires_grad_(False)
    prompt, targets = len(subject.prompt_ids), torch.tensor(subject.response_ids)
    ids = torch.tensor([subject.prompt_ids + subject.response_ids[:-1]])
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(count))
    nodes, weights = (nodes.float() + 1) / 2, weights.float() / 2
    rows = rows_at_once(subject)

    def run() -> Tensor:
        with torch.no_grad():
            x = model.get_input_embeddings()(ids)
            start = x.clone()
            nothing = model.get_input_embeddings()(torch.tensor(subject.baseline))
            start[0, :prompt][torch.tensor(subject.moves)] = nothing
        scores = torch.zeros(len(targets), prompt)
        keep = torch.arange(prompt - 1, ids.shape[1])
        for a, w in zip(nodes.split(rows), weights.split(rows), strict=True):
            z = (start + a[:, None, None] * (x - start)).requires_grad_()
            logits = model(inputs_embeds=z, use_cache=False, logits_to_keep=keep).logits
            picked = logits.log_softmax(-1)[:, torch.arange(len(targets)), targets]
            for t in range(len(targets)):
                gradient = torch.autograd.grad(picked[:, t].sum(), z, retain_graph=True)[0]
                mean = (w[:, None, None] * gradient[:, :prompt]).sum(0)
                scores[t] += (mean * (x - start)[0, :prompt]).sum(-1)
        return scores

    return run


def captum(subject: Subject, chunked: bool = False, nodes: int = NODES) -> Callable[[], Tensor]:
    from captum.attr import LayerIntegratedGradients, LLMGradientAttribution, TextTokenInput

    layer = LayerIntegratedGradients(subject.model, subject.model.get_input_embeddings())
    method = LLMGradientAttribution(layer, subject.tokenizer)
    question = TextTokenInput(
        subject.prompt,
        subject.tokenizer,
        baselines=subject.baseline,
        skip_tokens=list(subject.fixed),
    )
    target = torch.tensor(subject.response_ids)
    chunk = rows_at_once(subject) if chunked else None

    def run() -> Tensor:
        found = method.attribute(
            question, target=target, n_steps=nodes, internal_batch_size=chunk
        ).token_attr
        scores = torch.zeros(len(found), len(subject.prompt_ids))
        scores[:, torch.tensor(subject.moves)] = found.float()
        return scores

    return run


def inseq(subject: Subject, chunked: bool = False, nodes: int = NODES) -> Callable[[], None]:
    """Its own convention: everything moves, the generated prefix too, and is scored."""
    import inseq

    wrapped = inseq.load_model(subject.model, "integrated_gradients", tokenizer=subject.tokenizer)
    chunk = {"internal_batch_size": rows_at_once(subject)} if chunked else {}

    def run() -> None:
        wrapped.attribute(
            subject.prompt,
            subject.prompt + subject.response,
            n_steps=nodes,
            show_progress=False,
            **chunk,
        )

    return run


def inseq_scores(subject: Subject, nodes: int = NODES) -> Callable[[], Tensor]:
    """What it shows when nothing is said: norms over the embedding, without a sign."""
    import inseq

    wrapped = inseq.load_model(subject.model, "integrated_gradients", tokenizer=subject.tokenizer)

    def run() -> Tensor:
        found = wrapped.attribute(
            subject.prompt, subject.prompt + subject.response, n_steps=nodes, show_progress=False
        )
        shown = found.sequence_attributions[0].aggregate().target_attributions
        return shown[: len(subject.prompt_ids), -len(subject.response_ids) :].T.nan_to_num().float()

    return run


def interpreto(subject: Subject) -> Callable[[], None]:
    """Not integrated gradients: absolute values of gradient times interpolated embedding."""
    from interpreto import Granularity, IntegratedGradients

    method = IntegratedGradients(
        subject.model,
        subject.tokenizer,
        batch_size=rows_at_once(subject),
        n_perturbations=NODES,
        granularity=Granularity.ALL_TOKENS,
    )
    target = torch.tensor(subject.response_ids)

    def run() -> None:
        method(subject.prompt, targets=target)

    return run


def interpreto_scores(
    subject: Subject, kind: str = "IntegratedGradients", batch_size: int = 4, **_: Any
) -> Callable[[], Tensor]:
    """One of its methods as it is when nothing is said, but for tokens.

    Its default is words, and to Gemma's tokenizer a whole text is one of them.

    Args:
        subject: what is explained.
        kind: the class of the method.
        batch_size: rows at once; its own default.
    """
    method, tokenizer = _interpreto(subject.model, subject.tokenizer, kind, batch_size)
    ids, count = subject.prompt_ids + subject.response_ids, len(subject.prompt_ids)

    def run() -> Tensor:
        encoded = tokenizer(subject.prompt, return_tensors="pt", return_offsets_mapping=True)
        found = method(encoded, targets=torch.tensor(subject.response_ids))[0]
        read = found.model_inputs_to_explain
        if read["input_ids"][0].tolist() != ids:
            raise ValueError("interpreto reads other tokens than it was given")
        places = [place for (place,) in found.granularity.get_indices(read, tokenizer)[0]]
        scores = torch.zeros(len(subject.response_ids), len(ids))  # what is special has none
        scores[:, places] = found.attributions.nan_to_num().float()
        return scores[:, :count]

    return run


@cache
def _interpreto(model: Any, tokenizer: Any, kind: str, batch_size: int) -> tuple[Any, Any]:
    """Return a method of interpreto and its tokenizer.

    It adds a token to the model that it is given, so that is a copy; and it would write a space
    before answers that begin without one, which are other answers.
    """
    import interpreto as library

    own = copy.deepcopy(tokenizer)
    asked = {"granularity": library.Granularity.TOKEN, "batch_size": batch_size}
    method = getattr(library, kind)(copy.deepcopy(model), own, **asked)
    method.normalize_target_ids_with_leading_space = lambda target: target
    return method, own


CONTESTANTS: dict[str, Contestant] = {
    "hf_attrib": ours,
    "floor (by hand)": floor,
    "captum": captum,
    "captum, same chunks": partial(captum, chunked=True),
    "inseq": inseq,
    "inseq, same chunks": partial(inseq, chunked=True),
    "interpreto": interpreto,
}
