"""The options of the commands, in groups; each group checks itself before anything long runs.

A group is a frozen dataclass of which each field is one option; ``panel`` is the title of the panel
of ``--help`` that they stand in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

import typer

from hf_attrib.attacks import attacks
from hf_attrib.baselines import NAMES, BaselineLike, check_name
from hf_attrib.cli.files import STDSTREAM, check_distinct, check_writable
from hf_attrib.engine import DEFAULTS, Question, default_method, size_of
from hf_attrib.errors import InputError
from hf_attrib.methods import Method, methods
from hf_attrib.methods import method as method_named
from hf_attrib.methods.base import parsed
from hf_attrib.model import DTYPES, check_device
from hf_attrib.results import Attribution
from hf_attrib.targets import TARGETS, target
from hf_attrib.text.grouping import RULES
from hf_attrib.validation import DEFAULT_METHODS, automatic_contest

__all__ = [
    "AnswerOptions",
    "ModelOptions",
    "QuestionOptions",
    "SaveOptions",
    "ViewOptions",
    "baseline_of",
    "check_positive",
    "seeded",
]


@dataclass(frozen=True)
class ModelOptions:
    """Which model is loaded, where it runs and how much memory it may take."""

    panel: ClassVar[str] = "Model"

    model: Annotated[
        str, typer.Option(help="An embedded model (see hf-attrib models), a hub name or a folder.")
    ] = "keys-llama"
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run Python code that comes with the model.")
    ] = False
    device: Annotated[str, typer.Option(help="cpu, cuda, mps, or auto to use all there is.")] = (
        "cpu"
    )
    dtype: Annotated[
        str, typer.Option(help=f"{', '.join(DTYPES)}; auto keeps the model's own.")
    ] = "auto"
    batch_size: Annotated[
        int | None,
        typer.Option(help="Sequences run at once; changes memory and speed only."),
    ] = None
    max_memory: Annotated[
        str | None,
        typer.Option(
            help="What rows may take beyond the model: 2GiB, 500MB; or a share, if not set."
        ),
    ] = None

    def __post_init__(self) -> None:
        check_device(self.device)
        if self.dtype not in DTYPES:
            raise InputError(f"dtype {self.dtype!r} is unknown; expected {', '.join(DTYPES)}.")
        check_positive("--batch-size", self.batch_size)
        if self.max_memory is not None:
            size_of(self.max_memory)

    def options(self) -> dict[str, Any]:
        """Return the arguments of ``load_model`` but the name."""
        names = ("revision", "device", "dtype", "trust_remote_code")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class AnswerOptions:
    """Which answer is explained: one that is given, or one that the model generates."""

    panel: ClassVar[str] = "Answer"

    response: Annotated[
        str | None, typer.Option(help="Explain this answer instead of generating one.")
    ] = None
    max_new_tokens: Annotated[
        int | None, typer.Option(help="Generate at most this many tokens.")
    ] = None
    seed: Annotated[
        int | None, typer.Option(help="Seed of sampling: by the model, the method or the attack.")
    ] = None

    def __post_init__(self) -> None:
        if self.response is not None and self.max_new_tokens is not None:
            raise InputError("--response and --max-new-tokens were both given; give one of them.")
        if self.seed is not None and not 0 <= self.seed < 2**64:
            raise InputError(f"--seed is {self.seed}; expected 0 to 2**64 - 1.")
        check_positive("--max-new-tokens", self.max_new_tokens)

    def generation(self) -> dict[str, Any]:
        """Return the arguments of ``generate``."""
        return {} if self.max_new_tokens is None else {"max_new_tokens": self.max_new_tokens}


@dataclass(frozen=True)
class QuestionOptions:
    """What is asked about each generated token, and by which method."""

    panel: ClassVar[str] = "What to explain"

    method: Annotated[
        str | None,
        typer.Option(
            show_default=DEFAULTS["method"],
            help=f"{', '.join(methods())}; or the name of one of hf-attrib attacks; or with "
            "fields, as 'smooth_grad(samples=8)'; or auto: that of "
            f"{', '.join(DEFAULT_METHODS)} which predicts best what the model does without what "
            "it ranks, of those that --budget rows reach for.",
        ),
    ] = None
    target: Annotated[str, typer.Option(help=f"Of each generated token: {', '.join(TARGETS)}.")] = (
        "log_prob"
    )
    contrast: Annotated[
        str | None,
        typer.Option(
            help="Why this answer rather than another: its text. Or, of each token, rather than "
            "id:NUMBER."
        ),
    ] = None
    baseline: Annotated[
        str | None,
        typer.Option(
            help=f"What tokens are compared to, if the method takes it: {', '.join(NAMES)}, "
            "token:TEXT or id:NUMBER."
        ),
    ] = None
    attribute_to: Annotated[
        str, typer.Option(help="prompt; or all, to score the tokens generated before, too.")
    ] = "prompt"
    spans: Annotated[
        str | None,
        typer.Option(help="Explain sums over word, sentence or response; not each token."),
    ] = None
    movable: Annotated[
        str, typer.Option(help="content; or all, to score special and template tokens, too.")
    ] = "content"

    def question(self, method: Method) -> Question:
        """Return the question to the engine, which checks the other options.

        Args:
            method: what :meth:`made_method` returned.

        Raises:
            InputError: some value is unknown.
        """
        if self.spans not in (None, "response", *RULES):
            raise InputError(
                f"--spans is {self.spans!r}; expected response, {', '.join(RULES)}, or none."
            )
        return Question(
            method,
            target(self.target),
            contrast if isinstance(contrast := _token(self.contrast), int) else None,
            baseline_of(self.baseline),
            self.attribute_to,
            self.movable,
            self.spans,
        )

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of ``explain`` that were given, in texts and numbers."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = {f.name: given[f.name] for f in fields(self) if given[f.name] != f.default}
        readers: dict[str, Any] = {"contrast": _token, "baseline": baseline_of}
        return {n: readers[n](v) if n in readers else v for n, v in changed.items()}

    def other_answer(self) -> str | None:
        """Return the answer that the one explained is contrasted with, if there is one."""
        return None if isinstance(_token(self.contrast), int) else self.contrast

    @property
    def automatic(self) -> bool:
        """Whether the method is chosen by what it predicts."""
        return self.method == "auto"

    def contest(self, fields: Mapping[str, Any], groups: str | None) -> dict[str, Any]:
        """Return the arguments of ``explain`` by which a method is chosen.

        Args:
            fields: of methods, as they were given.
            groups: how inputs are joined.

        Raises:
            InputError: one has no meaning for several methods.
        """
        names = ("method", "target", "contrast", "attribute_to", "movable", "spans")
        asked = {name: getattr(self, name) for name in names} | {"groups": groups}
        asked |= {"baseline": baseline_of(self.baseline), **fields}
        if self.target not in TARGETS:
            target(self.target)  # which refuses it
        automatic_contest(asked)
        return asked

    def made_method(self, given: dict[str, Any], seed: int | None) -> Method:
        """Return the method with the fields given; one that samples takes the seed, too."""
        return seeded(default_method(given) if self.method is None else self.method, given, seed)


@dataclass(frozen=True)
class ViewOptions:
    """How a result is shown, and which pictures and pages are made of it."""

    panel: ClassVar[str] = "Output"

    matrix: Annotated[
        bool,
        typer.Option(
            "--matrix", help="Add the score of every generated token for every input token."
        ),
    ] = False
    group: Annotated[
        str | None,
        typer.Option(help=f"Show input tokens joined: {', '.join(RULES)}."),
    ] = None
    svg: Annotated[Path | None, typer.Option(help="Draw a picture into this file, too.")] = None
    html: Annotated[
        Path | None, typer.Option(help="Write a page to explore into this file, too.")
    ] = None

    def __post_init__(self) -> None:
        if self.group is not None and self.group not in RULES:
            raise InputError(f"--group is {self.group!r}; expected {' or '.join(RULES)}.")
        check_distinct(self.svg, self.html)
        for path in (self.svg, self.html):
            if path is not None:
                check_writable(path)

    def page_alone(self, what: str) -> Path | None:
        """Return where the page goes, for what has no other views.

        Raises:
            InputError: another view is asked for.
        """
        if self.matrix or self.group is not None or self.svg is not None:
            raise InputError(f"{what} has no --matrix, --group or --svg; leave them out.")
        return self.html

    def of(self, result: Attribution) -> Attribution:
        """Return what is shown of a result."""
        return result if self.group is None else result.group(self.group)


@dataclass(frozen=True)
class SaveOptions:
    """Whether a result is saved, or whether nothing is computed but what it would cost."""

    panel: ClassVar[str] = "Output"

    json: Annotated[
        Path | None,
        typer.Option(
            help="Save the result, for hf-attrib show; - prints it instead of the heatmap."
        ),
    ] = None
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what it would cost, from a few rows, and stop.")
    ] = False

    def __post_init__(self) -> None:
        if self.json is not None and self.json != STDSTREAM:
            check_writable(self.json)


def seeded(method: str, given: Mapping[str, Any], seed: int | None) -> Method:
    """Return a method with the fields given; one that samples takes the seed, too.

    Args:
        method: as it is written.
        given: its further fields.
        seed: of the command; what is written with the method comes first.

    Raises:
        InputError: there is no such method or field, or a value is rejected.
    """
    name, own = parsed(method)
    kind: Any = {**methods(), **attacks()}.get(name)
    known = {f.name for f in fields(kind)} if kind is not None else ()
    if seed is not None and "seed" in known and "seed" not in own:
        given = {**given, "seed": seed}
    made = method_named(method, given)
    if seed is None or "seed" in known or not made.claims.stochastic:
        return made
    # The seed of a method that holds a stochastic one, unless that is written with its own.
    written = "".join(map(str, [*own.values(), *given.values()])).replace(" ", "")
    return made if "seed=" in written else made.reseeded(seed)


def check_positive(flag: str, value: int | None) -> None:
    """Refuse a count below 1.

    Raises:
        InputError: it is.
    """
    if value is not None and value < 1:
        raise InputError(f"{flag} is {value}; expected at least 1.")


def baseline_of(spec: str | None) -> BaselineLike | None:
    """Return the baseline that ``--baseline`` names: ``id:NUMBER`` as a number, else the text.

    A misspelt name is refused here, as the library would look at it only after loading a model and
    generating an answer.

    Raises:
        InputError: there is no baseline of this name.
    """
    baseline = _token(spec)
    if isinstance(baseline, str):
        check_name(baseline)
    return baseline


def _token(spec: str | None) -> str | int | None:
    """Read ``id:NUMBER`` as a token id."""
    kind, _, number = (spec or "").partition(":")
    if kind == "id" and number.isdecimal():
        return int(number)
    return spec
