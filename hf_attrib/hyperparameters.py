"""Frozen dataclasses by name, with hyperparameters that check themselves and can be written."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from types import MappingProxyType
from typing import Any, ClassVar, Generic, TypeAlias, TypeVar

from hf_attrib.errors import InputError, warn

__all__ = [
    "Check",
    "Hyperparameters",
    "Registry",
    "argument_names",
    "at_least",
    "even",
    "former_names",
    "hyperparameter",
    "inner_share",
    "is_frame",
    "listed",
    "names_among",
    "not_negative",
    "number_or_auto",
    "one_of",
    "plain_number",
    "positive",
    "renamed",
    "share",
    "written",
]

_T = TypeVar("_T")

#: Takes the name of a field and what was given for it; returns what to keep, or refuses.
Check: TypeAlias = Callable[[str, Any], Any]


def hyperparameter(
    default: Any,
    help: str,
    check: Check | None = None,
    *,
    flag: bool = True,
    formerly: str | None = None,
) -> Any:
    """Declare a field of a dataclass that inherits from :class:`Hyperparameters`.

    For example ``steps: int = hyperparameter(64, "Segments of the path.", at_least(1))``.

    Args:
        default: what the field is unless it is given.
        help: what it is for, in a sentence; the command line and the documentation print it.
        check: refuses what is out of range; ``None`` passes where it is the default.
        flag: whether the command line has a flag for it.
        formerly: the name it had one release ago, which is accepted with a warning.
    """
    said = {"help": help, "check": check, "flag": flag, "formerly": formerly}
    return field(default=default, metadata={k: v for k, v in said.items() if v is not None})


@dataclass(frozen=True)
class Hyperparameters:
    """A frozen dataclass that is registered by its name, and whose fields are checked when made.

    Those subclasses that can be used give their name as a class argument. A family of them says in
    its first class, by ``registry``, where they are registered.

    Raises:
        InputError: a field is out of range.
    """

    registry: ClassVar[Registry[Any]]
    name: ClassVar[str]

    def __init_subclass__(cls, *, name: str | None = None) -> None:
        super().__init_subclass__()
        cls.name = name or cls.__name__
        if name is not None:
            cls.registry.add(name, cls)

    def __post_init__(self) -> None:
        for f in fields(self):
            check, value = f.metadata.get("check"), getattr(self, f.name)
            if check is not None and not (value is None and f.default is None):
                object.__setattr__(self, f.name, check(f.name, value))

    def __str__(self) -> str:
        return written(self, self.name)


class Registry(Generic[_T]):
    """The classes of one kind by name.

    Args:
        kind: what they are, for messages.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[_T]] = {}

    def add(self, name: str, made: type[_T]) -> None:
        """Register a class.

        Raises:
            ValueError: another one has the name.
        """
        before = self._classes.get(name, made)
        if before.__qualname__ != made.__qualname__:
            raise ValueError(f"a {self.kind} {name!r} is registered already: {before}")
        self._classes[name] = made

    def all(self) -> Mapping[str, type[_T]]:
        """Return all classes by name, sorted."""
        return MappingProxyType(dict(sorted(self._classes.items())))

    def make(self, name: str, arguments: Mapping[str, Any]) -> _T:
        """Return one by name with some of its fields set.

        Raises:
            InputError: no such name, no such field, or a value that the class rejects.
        """
        if name not in self._classes:
            raise InputError(
                f"{self.kind} {name!r} is unknown; expected one of {', '.join(self.all())}."
            )
        made: Any = self._classes[name]
        arguments = renamed(made, arguments)
        known = {f.name for f in fields(made)}
        if foreign := sorted(set(arguments) - known):
            raise InputError(
                f"{self.kind} {name} has no field {', '.join(foreign)}; it has "
                f"{', '.join(sorted(known))}."
                if known
                else f"{self.kind} {name} has no fields, but {', '.join(foreign)} was given."
            )
        found: _T = made(**arguments)
        return found

    def read(self, text: str, label: str) -> tuple[str, dict[str, Any]]:
        """Return the name and the fields of what is written, as in ``"idgi(steps=8)"``.

        Args:
            text: what is written; a name may stand alone.
            label: of what was given, for the message.

        Raises:
            InputError: it cannot be read.
        """
        try:
            node = ast.parse(text, mode="eval").body
            if isinstance(node, ast.Name):
                return node.id, {}
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
                raise ValueError
            return node.func.id, {key.arg or "": _value(key.value) for key in node.keywords}
        except (SyntaxError, TypeError, ValueError):
            raise InputError(
                f"{label} is {text!r:.80}; expected the name of one {self.kind}, or "
                "name(field=value)."
            ) from None


def _value(node: ast.expr) -> Any:
    """Read the value of a field: a number, a word, or how another thing is written."""
    if isinstance(node, ast.Call):
        return ast.unparse(node)
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def former_names(kind: type[Hyperparameters]) -> dict[str, str]:
    """Return the present name of each field that had another one release ago, by that one."""
    return {f.metadata["formerly"]: f.name for f in fields(kind) if "formerly" in f.metadata}


def argument_names(kind: type[Hyperparameters]) -> set[str]:
    """Return the names by which fields may be given: the present ones, and former ones."""
    return {f.name for f in fields(kind)} | set(former_names(kind))


def renamed(kind: type[Hyperparameters], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments by the present names of the fields, with a warning for each former one.

    Raises:
        InputError: a field is given by both.
    """
    former, found = former_names(kind), dict(arguments)
    for old in set(former) & set(arguments):
        new = former[old]
        if new in found:
            raise InputError(f"{old} is the former name of {new}; give {new} alone.")
        now = f"{old} of {kind.name} is called {new} now"
        warn(FutureWarning(f"{now}; the old name goes with the next release."))
        found[new] = found.pop(old)
    return found


def written(made: Any, name: str) -> str:
    """Return how one is written: its name and those of its fields that have a value."""
    given = {f.name: getattr(made, f.name) for f in fields(made)}
    written = ", ".join(f"{k}={v}" for k, v in given.items() if v is not None)
    return f"{name}({written})" if written else name


#: What tensors can count.
_MOST = 2**63 - 1


def at_least(fewest: int, most: int = _MOST) -> Check:
    """Refuse counts that are no whole numbers, too small or too large."""

    def check(name: str, value: Any) -> int:
        value = plain_number(value)
        if type(value) is not int or value < fewest:
            raise InputError(
                f"{name} is {value!r:.80}; expected at least {fewest}, a whole number."
            )
        if value > most:
            raise InputError(f"{name} is {value!r:.80}; expected at most {most}.")
        return int(value)

    return check


def plain_number(value: Any) -> Any:
    """Return a number of numpy or the like as Python has it, and anything else as it is.

    Loops over ``numpy.arange`` or a column of a table bring such numbers, which neither JSON nor a
    check of types takes for what they are.
    """
    if isinstance(value, bool | int):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


def even(fewest: int) -> Check:
    """Refuse counts that are too small or not even, of what comes in pairs."""

    def check(name: str, value: Any) -> int:
        if (count := at_least(fewest)(name, value)) % 2:
            raise InputError(f"{name} is {count}; expected an even number, as they come in pairs.")
        return int(count)

    return check


def one_of(known: Collection[str]) -> Check:
    """Refuse names that are none of those known."""

    def check(name: str, value: Any) -> str:
        if value not in known:
            raise InputError(f"{name} {value!r:.80} is unknown; expected {', '.join(known)}.")
        return str(value)

    return check


def is_frame(given: Any) -> bool:
    """Tell data frames from lists: what goes through one finds the names of its columns."""
    return hasattr(given, "columns") and hasattr(given, "to_dict")


def listed(label: str, given: Any, expected: str) -> list[Any]:
    """Return what came as a list: a text is one entry.

    Args:
        label: of what was given, for the message.
        given: a text, or several entries.
        expected: what would do, in words.

    Raises:
        InputError: it has no entries that could be gone through.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, Mapping) or not isinstance(given, Iterable) or is_frame(given):
        raise InputError(f"{label} are {given!r:.80}; expected {expected}.")
    return list(given)


def names_among(kind: str, given: Any, known: Collection[str]) -> tuple[str, ...]:
    """Return names, each known and once.

    Args:
        kind: of what they name, for the message.
        given: one name or several.
        known: all that there are.

    Raises:
        InputError: there is none of that name, or none is named.
    """
    expected = f"some of {', '.join(known)}"
    several = listed(f"{kind}s", given, expected)
    if unknown := [n for n in several if not isinstance(n, str) or n not in known]:
        raise InputError(f"{kind} {unknown[0]!r:.80} is unknown; expected {expected}.")
    if not several:
        raise InputError(f"{kind}s are empty; name at least one, or leave them out.")
    return tuple(dict.fromkeys(several))


def positive(name: str, value: Any) -> float:
    """Refuse sizes that are not numbers above 0, or beyond any use."""
    value = plain_number(value)
    if not _is_number(value) or not 0 < value < 1e6:
        raise InputError(f"{name} is {value!r:.80}; expected a number above 0 and below 1,000,000.")
    return value  # type: ignore[no-any-return]


def not_negative(name: str, value: Any) -> float:
    """Refuse sizes that are not numbers of at least 0, or beyond any use."""
    value = plain_number(value)
    if not _is_number(value) or not 0 <= value < 1e6:
        raise InputError(
            f"{name} is {value!r:.80}; expected a number of at least 0 and below 1,000,000."
        )
    return value  # type: ignore[no-any-return]


def share(name: str, value: Any) -> float:
    """Refuse shares that are not numbers from 0 to 1."""
    value = plain_number(value)
    if not _is_number(value) or not 0 <= value <= 1:
        raise InputError(f"{name} is {value!r:.80}; expected a number from 0 to 1.")
    return value  # type: ignore[no-any-return]


def inner_share(name: str, value: Any) -> float:
    """Refuse shares that are not numbers between 0 and 1."""
    value = plain_number(value)
    if not _is_number(value) or not 0 < value < 1:
        raise InputError(f"{name} is {value!r:.80}; expected a number between 0 and 1.")
    return value  # type: ignore[no-any-return]


def number_or_auto(name: str, value: Any) -> float | str:
    """Return "auto", or a number above 0 that may come as text, as a flag of several types does."""
    if value == "auto":
        return "auto"
    try:
        if isinstance(value, bool):
            raise TypeError
        size = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {value!r:.80}; expected auto or a number above 0.") from None
    return positive(name, size)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
