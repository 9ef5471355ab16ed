"""What a call may be given by name, and what it asks where it says nothing.

For editors, for type checkers, and for the nearest name.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, TypedDict, TypeVar

from hf_attrib.attacks import Attack, attacks
from hf_attrib.baselines import BaselineLike
from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import argument_names
from hf_attrib.methods import Method, methods
from hf_attrib.targets import Score
from hf_attrib.text import Grouping, Ids

__all__ = [
    "DEFAULTS",
    "ExplainOptions",
    "InteractionsOptions",
    "RobustnessOptions",
    "check_names",
    "default_method",
    "documented_by",
    "field_names",
]

#: What a call asks that says nothing.
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "method": "loo_shapley",
        "target": "log_prob",
        "attribute_to": "prompt",
        "movable": "content",
        "on_error": "raise",
        "placement": "auto",
    }
)

#: What is taken where no method is named, and a field of it is given that the default has not.
_PATH = "integrated_gradients"

_F = TypeVar("_F", bound=Callable[..., Any])


class MethodOptions(TypedDict, total=False):
    """Hyperparameters of the methods and attacks that come with the package.

    Those of a method of your own are set where it is made: ``method=Mine(steps=3)``.
    """

    bisections: int
    blocks: int
    budget: int | None
    classes: int
    copies: int
    decay: float
    distance: float
    diverse: float
    dropout: float
    eps: float | str
    fraction: float
    generator: Any
    inner: str | Method
    kappa: float
    keep: float
    kind: str
    length: int
    max_nodes: int | None
    neighbours: int
    nodes: int
    noise: float
    mode: str
    norm: str
    objective: str
    penalty: float
    points: int
    rate: float
    reach: float
    restarts: int
    ridge: float
    rounds: int
    rule: str | None
    samples: int | None
    seed: int
    sigma: float
    spread: float
    step: float | None
    steps: int | None
    tolerance: float | None
    update: str | Attack
    variant: str
    weight: float
    width: float
    window: int
    words: int


class GenerateOptions(TypedDict, total=False):
    """Arguments of ``generate``; see :class:`transformers.GenerationConfig`."""

    assistant_confidence_threshold: Any
    assistant_early_exit: Any
    assistant_lookbehind: Any
    assistant_model: Any
    bad_words_ids: Any
    begin_suppress_tokens: Any
    bos_token_id: Any
    cache_config: Any
    cache_implementation: Any
    compile_config: Any
    constraints: Any
    custom_generate: Any
    decoder_start_token_id: Any
    disable_compile: bool
    diversity_penalty: float
    do_sample: bool
    dola_layers: Any
    early_stopping: bool | str
    encoder_no_repeat_ngram_size: int
    encoder_repetition_penalty: float
    eos_token_id: Any
    epsilon_cutoff: float
    eta_cutoff: float
    exponential_decay_length_penalty: Any
    force_words_ids: Any
    forced_bos_token_id: Any
    forced_eos_token_id: Any
    generation_config: Any
    guidance_scale: float
    length_penalty: float
    logits_processor: Any
    low_memory: bool
    max_length: int
    max_matching_ngram_size: int
    max_new_tokens: int
    max_time: float
    min_length: int
    min_new_tokens: int
    min_p: float
    negative_prompt_attention_mask: Any
    negative_prompt_ids: Any
    no_repeat_ngram_size: int
    num_assistant_tokens: int
    num_assistant_tokens_schedule: str
    num_beam_groups: int
    num_beams: int
    num_return_sequences: int
    output_attentions: bool
    output_hidden_states: bool
    output_logits: bool
    output_scores: bool
    pad_token_id: Any
    penalty_alpha: float
    prefill_chunk_size: int
    prefix_allowed_tokens_fn: Any
    prompt_lookup_num_tokens: int
    remove_invalid_values: bool
    renormalize_logits: bool
    repetition_penalty: float
    return_dict_in_generate: bool
    sequence_bias: Any
    stop_strings: Any
    stopping_criteria: Any
    streamer: Any
    suppress_tokens: Any
    synced_gpus: bool
    target_lookbehind: Any
    temperature: float
    token_healing: bool
    top_h: float
    top_k: int
    top_p: float
    typical_p: float
    use_cache: bool
    watermarking_config: Any


class ExplainOptions(MethodOptions, GenerateOptions, total=False):
    """What :meth:`Explainer.explain` may be given by name.

    Args:
        input_ids: the prompt as token ids, instead of ``prompt``.
        response: an answer to explain instead of generating one; a list for a list of prompts.
        response_ids: the same as token ids.
        method: name of a method, or as it is written: ``"idgi(steps=8)"``; or a :class:`Method`; or
            ``"auto"``: that of several which predicts best what the model does without the inputs
            that it ranks, chosen for each prompt by running all whose rows ``budget=`` reaches for.
        target: ``"log_prob"``, ``"logit"``, ``"log_odds"``, ``"margin"`` or ``"prob"`` of each
            generated token, the ``"entropy"`` of what could have been, or a function of logits
            [M, V] and ids [M] that returns f [M].
        contrast: another answer, as text or token ids of any length: explain f of the tokens of
            the response from where both part, less f of those of the contrast there, as one sum;
            with ``spans``, it stands in the place of that part. Or the id of one token, with which
            each generated token is contrasted. For a list of prompts one for all or a list.
        baseline: the reference of each token: ``"mean"``, ``"zero"``, ``"pad"``, ``"eos"``,
            ``"unk"``, ``"mask"``, ``"token:TEXT"``, a token id, another prompt (a list of one
            text), or embeddings [D] or [N, D]; for methods that average over references also
            ``"vocabulary"``, ``"noise"`` or a list of prompts; by default the method's own.
        spans: explain sums over parts of the response, at one backward pass each:
            ``"response"``, ``"word"``, ``"sentence"``, ``"line"``, or parts as for
            :meth:`Attribution.group`; by default each token is explained.
        groups: join the inputs as :meth:`Attribution.group` does: ``"token"``, ``"word"``,
            ``"sentence"``, ``"line"``, ``"paragraph"``, ``"role"``, ``"turn"``, ``"document"``,
            parts or a compiled regular expression. Few groups cost much less than tokens, whatever
            the length of the answer; by default each token is scored, and where a method plays
            groups and could not play so many, words or parts of sentences.
        attribute_to: ``"prompt"`` holds the generated prefix fixed; ``"all"`` moves and scores it
            too.
        movable: ``"content"`` holds special and template tokens at their embeddings, which then
            score 0; ``"all"`` moves them too; or a flag for each input token.
        template_options: further arguments of the chat template.
        attention_mask: which of ``input_ids`` are read, as tokenizers return it; it cuts padding.
        on_error: what a prompt that fails does to a list of them: ``"raise"``, or ``"return"`` to
            have its error in the place of its result.
        documents: what the model is given to answer from: a list of texts, mappings with ``text``
            (``content``, ``page_content``, ``body``, ``snippet``, Cohere's ``data``), or objects
            of LangChain or LlamaIndex; for a list of prompts a list for each, or one for all.
            Inputs are then grouped by ``"document"``, unless ``groups`` says otherwise.
        placement: ``"auto"`` puts documents where the chat template has a place for them, else
            into the last turn of the user, each behind its number; ``"template"`` refuses where
            there is no such place. A note of the result says where they are.
        template: a text with ``{documents}`` and ``{question}``, which says how both stand in a
            prompt that is a text, or in the last turn of the user.
        **arguments: hyperparameters of the method; anything else goes to ``generate``.
    """

    input_ids: Ids | None
    response: str | Sequence[str] | None
    response_ids: Ids | Sequence[Ids] | None
    method: str | Method
    target: str | Score
    contrast: str | int | Ids | Sequence[str | Ids] | None
    baseline: BaselineLike | None
    spans: Grouping | None
    groups: Grouping | None
    attribute_to: str
    movable: str | Sequence[bool]
    template_options: Mapping[str, Any] | None
    attention_mask: Any
    on_error: str
    documents: Any
    placement: str
    template: str | None


class InteractionsOptions(ExplainOptions, total=False):
    """What :meth:`Explainer.interactions` may be given by name.

    Args:
        method: ``"shapley_taylor"`` or ``"shapley_interactions"``, of up to 10 groups and forward
            alone, or ``"integrated_hessians"``; or as it is written:
            ``"integrated_hessians(steps=32)"``.
        groups: what is paired, as for :meth:`Explainer.explain`; by default words or parts of
            sentences, up to 8, and each token where the method pairs any number.
        token: for ``"integrated_hessians"``, the group that is paired with all others, at one
            product of the Hessian for each node: its number, its name, or text or a range of tokens
            within it; by default all pairs are found.
        **options: what :meth:`Explainer.explain` takes.
    """

    token: int | str | tuple[int, int] | None


class RobustnessOptions(MethodOptions, GenerateOptions, total=False):
    """What :meth:`Explainer.robustness` may be given by name.

    Args:
        attack: its name, or as it is written: ``"mim(decay=0.9)"``; or an :class:`Attack`.
        eps: the largest radius to try, in embedding scales; 1 by default.
        bisections: how often the interval around the radius that flips a token is halved; 6 by
            default.
        baseline: the reference of an attack that takes one, as for :meth:`Explainer.explain`.
        input_ids: the prompt as token ids, instead of ``prompt``.
        response: an answer to attack instead of generating one; a list for a list of prompts.
        response_ids: the same as token ids.
        attribute_to: ``"prompt"`` attacks the prompt alone; ``"all"`` the generated prefix, too.
        movable: which inputs are attacked, as for :meth:`Explainer.explain`.
        template_options: further arguments of the chat template.
        attention_mask: which of ``input_ids`` are read, as tokenizers return it; it cuts padding.
        on_error: what a prompt that fails does to a list of them: ``"raise"``, or ``"return"`` to
            have its error in the place of its result.
        **arguments: hyperparameters of the attack; anything else goes to ``generate``.
    """

    attack: str | Attack
    baseline: BaselineLike | None
    input_ids: Ids | None
    response: str | Sequence[str] | None
    response_ids: Ids | Sequence[Ids] | None
    attribute_to: str
    movable: str | Sequence[bool]
    template_options: Mapping[str, Any] | None
    attention_mask: Any
    on_error: str


def default_method(own: Mapping[str, Any]) -> str:
    """Return the name of the method that is taken where none is named.

    It is the default, or integrated gradients where a number of steps, a tolerance or another field
    of a path is given, which the default has no use for.

    Args:
        own: what came for the method, by name.

    Raises:
        InputError: neither has all these fields; it says which methods do.
    """
    default: str = DEFAULTS["method"]
    having = {name: argument_names(made) for name, made in methods().items()}
    for name in (default, _PATH):
        if having[name].issuperset(own):
            return name
    field = next(f for f in own if f not in having[default])
    others = [name for name, fields_of in having.items() if fields_of.issuperset(own)]
    raise InputError(
        f"{field} was given and no method, and {default}, which is then taken, has no field "
        f"{field}; give method= as well: {', '.join(others) or 'an attack'}."
    )


def field_names() -> set[str]:
    """Return the hyperparameters of all methods and attacks, those of your own included."""
    kinds: list[Any] = [*methods().values(), *attacks().values()]
    return {name for kind in kinds for name in argument_names(kind)}


def check_names(given: Mapping[str, Any], options: Any, call: str, model: Any) -> None:
    """Refuse a name that neither the call, nor a method, nor the model's ``generate`` knows.

    Args:
        given: what came by name.
        options: what the call may be given, a ``TypedDict``.
        call: what the caller called, for the message.
        model: whose ``generate`` takes the rest.

    Raises:
        InputError: naming the nearest name that is known.
    """
    config = vars(getattr(model, "generation_config", None) or object)
    readers = ("generate", "forward", "prepare_inputs_for_generation")
    functions = [f for name in readers if callable(f := getattr(model, name, None))]
    taken = {p for f in functions for p in inspect.signature(f).parameters}
    own = set(options.__annotations__)
    taken |= {"tokenizer", "assistant_tokenizer"}  # which generate takes and does not declare
    for name in sorted(set(given) - own - field_names() - set(config) - taken):
        near = get_close_matches(name, own | field_names(), 1, cutoff=0.7)
        hint = f"; did you mean {near[0]!r}?" if near else ", nor has any method or generate."
        raise InputError(f"{call} has no argument {name!r}{hint}")


def documented_by(options: Any, defaults: Mapping[str, Any]) -> Callable[[_F], _F]:
    """Show what a method may be given by name in its signature and its docstring.

    Args:
        options: a ``TypedDict`` with a docstring.
        defaults: of those that have one other than ``None``.
    """
    inherited = set(MethodOptions.__annotations__) | set(GenerateOptions.__annotations__)
    names = [n for n in options.__annotations__ if n not in inherited or n in defaults]

    def documented(method: _F) -> _F:
        own = list(inspect.signature(method).parameters.values())
        kind = inspect.Parameter.KEYWORD_ONLY
        given = [inspect.Parameter(n, kind, default=defaults.get(n)) for n in names]
        rest = inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)
        shown = inspect.Signature([*own[:-1], *given, rest])
        method.__signature__ = shown  # type: ignore[attr-defined]
        about = inspect.cleandoc(options.__doc__).partition("Args:\n")[2] + "\n"
        text = inspect.cleandoc(method.__doc__ or "")
        method.__doc__ = re.sub(r"^    \*\*options: .*\n", lambda _: about, text, flags=re.M)
        return method

    return documented
