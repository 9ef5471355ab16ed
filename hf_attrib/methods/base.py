"""What an attribution method is, and what it claims."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from hf_attrib.attacks import attack, attacks
from hf_attrib.errors import InputError
from hf_attrib.field import Cost, Decomposition, Field
from hf_attrib.hyperparameters import Hyperparameters, Registry, renamed
from hf_attrib.integration import derived

__all__ = [
    "AXIOMS",
    "Claims",
    "Cost",
    "Method",
    "held",
    "method",
    "methods",
    "of_sample",
    "parsed",
]

#: Laws that a method keeps or not, in words. The test suite runs each that is claimed against
#: problems with exact answers, and a counterexample for each that is not.
AXIOMS = MappingProxyType(
    {
        "completeness": "scores sum to the method's identity, up to the gap that results report.",
        "dummy": "an input that f ignores scores 0.",
        "implementation_invariance": "networks that compute the same f have the same scores.",
        "linearity": "the scores of a f + b g are a and b times theirs.",
        "sensitivity": "if x and x' differ in one input and f differs, that input scores non-zero.",
    }
)


@dataclass(frozen=True)
class Claims:
    """What a method's scores mean.

    Args:
        cost: rows of a result with T targets, K path nodes, S samples and N inputs that move,
            f(x) included.
        axioms: those of :data:`AXIOMS` that hold; where scores are means over drawn inputs,
            completeness and sensitivity hold in the mean.
        identity: what the scores of a target sum to, or ``None``.
        signed: whether a negative score means "argues against the token".
        stochastic: whether scores depend on a seed, and come with standard errors.
        many_references: whether the method draws references from a distribution.
        baseline: the reference when the caller names none; ``None`` if the method takes none.
        groups: what the method does where inputs are grouped. ``"summed"``: it scores each input,
            and scores of a group are added up. ``"joined"``: each score is linear in its products
            of gradient and velocity, so that a group is explained as one input, at less cost and
            with the same sum. ``"players"``: it plays the G groups, as Shapley values do, and its
            scores are [B, T, G]; each input is a group where none are named.
        whole_gradients: how many gradients of all targets, [T, N, D], are held whole at the most,
            those of the rows that run aside; 0 where gradients are contracted at once.
        attention: whether gradients are those by attention probabilities, which a model must give.
    """

    cost: str
    axioms: frozenset[str]
    identity: str | None = None
    signed: bool = True
    stochastic: bool = False
    many_references: bool = False
    baseline: str | None = "mean"
    groups: str = "summed"
    whole_gradients: int = 0
    attention: bool = False

    @property
    def differentiates(self) -> bool:
        """Whether the method may take a gradient; those that play groups take values alone."""
        return self.groups != "players"

    def keeps(self, axiom: str) -> str:
        """Say whether a law is kept: "yes", "in the mean", "no", or "n/a".

        Sensitivity speaks of a pair of x and x'. Where scores explain the change from a point that
        the method finds itself, there is no pair to choose, so the law does not apply.

        Args:
            axiom: one of :data:`AXIOMS`.
        """
        identity = self.identity or "f(x')"
        if axiom == "sensitivity" and "f(x')" not in identity:
            return "n/a"
        if axiom not in self.axioms or (axiom == "completeness" and self.identity is None):
            return "no"
        drawn = self.stochastic and "E f" in identity
        return "in the mean" if drawn and axiom in ("completeness", "sensitivity") else "yes"

    def cost_of_samples(self, more: str) -> str:
        """Return the cost of a method that runs this one S times.

        Args:
            more: forward rows on top of these, as " + 1".
        """
        forward, found, backward = self.cost.partition(";")[0].partition(" forward rows, ")
        if not found:
            return f"S times: {self.cost}"
        return f"S * ({forward}){more} forward rows, S * {backward}"

    def over_noise(self, cost: str) -> Claims:
        """Return what holds for means over noisy inputs.

        Args:
            cost: of the mean.
        """
        return replace(
            self,
            identity=self.identity and self.identity.replace("f(x)", "E f(x + noise)", 1),
            stochastic=True,
            cost=cost,
            # Noise moves all inputs, so x and x' never differ in one alone.
            axioms=self.axioms - {"sensitivity"},
        )


_METHODS: Registry[Method] = Registry("method")


@dataclass(frozen=True)
class Method(Hyperparameters, ABC):
    """An attribution method: a frozen dataclass of hyperparameters, called on a field.

    Subclasses that can be used give their registered name as a class argument. A method reduces
    over the last two axes (N, D) only, so that batches and targets come for free.
    """

    registry: ClassVar[Registry[Any]] = _METHODS
    #: What holds whatever the hyperparameters are; where they decide, ``claims`` is overridden.
    CLAIMS: ClassVar[Claims]

    @property
    def claims(self) -> Claims:
        """What this very method claims; one that holds another method asks that one."""
        return self.CLAIMS

    @property
    def tolerance(self) -> float | None:
        """Relative error that the method is to reach, or ``None`` if it has no such aim."""
        return None

    @property
    def most_players(self) -> int | None:
        """How many groups the method plays at most, where the caller names none; or any number."""
        return None

    def reseeded(self, seed: int) -> Method:
        """Return the same method, which is stochastic, with random numbers of its own.

        Args:
            seed: of these numbers.
        """
        return replace(self, **{"seed": seed})

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return what the method runs at least, and at most.

        Args:
            targets: T.
            inputs: how many inputs may move.

        Raises:
            InputError: the method does not say.
        """
        raise InputError(
            f"method {self.name} does not say how many rows it runs, so its cost cannot be "
            "estimated; give its class a method cost(targets, inputs)."
        )

    def moving(self, field: Field, x: Tensor, baseline: Tensor) -> int:
        """Return how many inputs move, or groups of them where the method plays these.

        Args:
            field: F of one sequence.
            x: its embeddings, [1, 1, N, D].
            baseline: reference embeddings, [1, 1, N, D].
        """
        played = self.claims.groups == "players"
        return int((field.groups.moving if played else field.movable).sum())

    def cost_at(self, field: Field, x: Tensor, baseline: Tensor, targets: int) -> tuple[Cost, Cost]:
        """Return the rows that one sequence takes at least and at most.

        Args:
            field: F of one sequence.
            x: its embeddings, [1, 1, N, D].
            baseline: reference embeddings, [1, 1, N, D].
            targets: T.
        """
        return self.cost(targets, self.moving(field, x, baseline))

    @abstractmethod
    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Attribute every target of a field to its inputs.

        Args:
            field: F and its gradient.
            x: embeddings of the inputs, [B, 1, N, D].
            baseline: reference embeddings, equal to x where inputs do not move, [B, 1, N, D].

        Returns:
            scores [B, T, N] and F at the reference [B, T].
        """


def methods() -> Mapping[str, type[Method]]:
    """Return all registered methods by name, sorted."""
    return _METHODS.all()


def parsed(spec: str) -> tuple[str, dict[str, Any]]:
    """Return the name of a method, and the fields that are written with it.

    Args:
        spec: a name, or name and fields, as in ``"idgi(steps=8)"``, which is how a method is
            written.

    Raises:
        InputError: it cannot be read.
    """
    return _METHODS.read(spec, "method") if "(" in spec else (spec, {})


def method(spec: str, arguments: Mapping[str, Any]) -> Method:
    """Return a method by name, or as it is written, with some of its fields set.

    The name of an attack stands for the fundamental method with it, and takes the fields of both.

    Args:
        spec: as for :func:`parsed`.
        arguments: further fields by name.

    Raises:
        InputError: no such method, no such field, or a value that the method rejects; or a field
            is given twice.
    """
    name, written = parsed(spec)
    if twice := sorted(set(written) & set(arguments)):
        raise InputError(
            f"{', '.join(twice)} came within {spec!r:.80} and next to it; give each once."
        )
    arguments = {**written, **arguments}
    if name not in attacks():
        if name not in methods():
            raise InputError(
                f"method {name!r} is unknown; expected one of {', '.join(methods())}; or the name "
                f"of an attack: {', '.join(attacks())}."
            )
        return _METHODS.make(name, arguments)
    own = {f.name for f in fields(attacks()[name])}
    update = attack(name, {k: v for k, v in arguments.items() if k in own})
    kind = methods()["fundamental"]
    others = renamed(kind, {k: v for k, v in arguments.items() if k not in own})
    known = {f.name for f in fields(kind)} - {"update"}
    if foreign := sorted(set(others) - known):
        raise InputError(
            f"method {name} has no field {', '.join(foreign)}; it has "
            f"{', '.join(sorted(own | known))}."
        )
    return _METHODS.make("fundamental", others | {"update": update})


def held(inner: str | Method) -> Method:
    """Return the method that a wrapper holds.

    Args:
        inner: a method, or one as :func:`parsed` reads it.

    Raises:
        InputError: there is no such method.
    """
    if isinstance(inner, Method):
        return inner
    if not isinstance(inner, str):
        raise InputError(
            f"inner is {inner!r:.80}; expected the name of one method, or name(field=value)."
        )
    return method(inner, {})


def of_sample(inner: Method, seed: int, sample: int) -> Method:
    """Return a held method with random numbers of its own for one sample of its wrapper."""
    if not inner.claims.stochastic:
        return inner
    return inner.reseeded(derived(seed, inner.name, sample))
