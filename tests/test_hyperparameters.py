"""Fields say what they accept, and a field that was renamed answers to its former name."""

import json
import warnings
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, get_type_hints

import numpy as np
import pytest

from hf_attrib.attacks import BIM, attacks
from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import (
    Hyperparameters,
    Registry,
    argument_names,
    at_least,
    even,
    former_names,
    hyperparameter,
    inner_share,
    not_negative,
    number_or_auto,
    one_of,
    positive,
    share,
)
from hf_attrib.methods import IntegratedGradients, NoiseAverage, method, methods

SHELVES: Registry[Any] = Registry("shelf")


@dataclass(frozen=True)
class Shelf(Hyperparameters, name="shelf"):
    """A shelf."""

    registry: ClassVar[Registry[Any]] = SHELVES
    boards: int = hyperparameter(3, "How many.", at_least(1, 9), formerly="planks")
    width: float | None = hyperparameter(None, "In metres.", positive)
    wood: str = hyperparameter("oak", "Of what.", one_of(("oak", "elm")))
    load: float | str = hyperparameter("auto", "In kilograms.", number_or_auto)
    slack: float = hyperparameter(0.0, "In metres.", not_negative)
    painted: float = hyperparameter(1.0, "How much of it.", share, flag=False)
    bolts: int = hyperparameter(4, "How many.", even(2))
    full: float = hyperparameter(0.5, "How much of it.", inner_share)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"boards": 0}, "boards is 0; expected at least 1, a whole number."),
        ({"boards": True}, "boards is True; expected at least 1, a whole number."),
        ({"boards": 10}, "boards is 10; expected at most 9."),
        ({"boards": None}, "boards is None; expected at least 1, a whole number."),
        ({"width": 0}, "width is 0; expected a number above 0 and below 1,000,000."),
        ({"wood": "ash"}, "wood 'ash' is unknown; expected oak, elm."),
        ({"load": "much"}, "load is 'much'; expected auto or a number above 0."),
        ({"load": False}, "load is False; expected auto or a number above 0."),
        ({"slack": -1}, "slack is -1; expected a number of at least 0 and below 1,000,000."),
        ({"painted": 2}, "painted is 2; expected a number from 0 to 1."),
        ({"bolts": 0}, "bolts is 0; expected at least 2, a whole number."),
        ({"bolts": 3}, "bolts is 3; expected an even number, as they come in pairs."),
        ({"full": 1}, "full is 1; expected a number between 0 and 1."),
    ],
)
def test_a_field_refuses_what_is_out_of_range(given, message):
    for make in (Shelf, lambda **fields: replace(Shelf(), **fields)):
        with pytest.raises(InputError) as refused:
            make(**given)
        assert str(refused.value) == message


def test_a_field_keeps_what_its_check_returns():
    assert Shelf(load="2.5").load == 2.5
    assert (Shelf(width=None).width, Shelf(width=2).width) == (None, 2)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float32, np.float64])
def test_numbers_of_numpy_are_numbers(kind):
    made = Shelf(width=kind(2), slack=kind(2), painted=kind(1))
    assert made == Shelf(width=2, slack=2, painted=1)
    assert json.loads(json.dumps([made.width, made.slack])) == [2, 2]
    if issubclass(kind, np.integer):
        assert Shelf(boards=kind(2), bolts=kind(2)) == Shelf(boards=2, bolts=2)
    else:
        with pytest.raises(InputError, match="a whole number"):
            Shelf(boards=kind(2))
    with pytest.raises(InputError, match="a whole number"):
        Shelf(boards=np.bool_(True))


def test_a_field_says_what_it_is_for():
    about = {f.name: f.metadata for f in fields(Shelf)}
    assert about["boards"]["help"] == "How many."
    assert [name for name, said in about.items() if not said["flag"]] == ["painted"]
    assert get_type_hints(Shelf)["width"] == float | None


def test_a_former_name_is_accepted_with_a_warning():
    with pytest.warns(FutureWarning, match="planks of shelf is called boards now"):
        assert SHELVES.make("shelf", {"planks": 5}) == Shelf(boards=5)
    with pytest.raises(InputError, match="planks is the former name of boards; give boards alone"):
        SHELVES.make("shelf", {"planks": 5, "boards": 5})
    with pytest.raises(InputError, match="shelf shelf has no field beams"):
        SHELVES.make("shelf", {"beams": 5})


def test_former_names_are_nobody_elses_names():
    """A former name that is another field's name could not be told from it."""
    kinds = [*methods().values(), *attacks().values()]
    former = {old for kind in kinds for old in former_names(kind)}
    assert not former & {f.name for kind in kinds for f in fields(kind)}
    assert argument_names(Shelf) == {f.name for f in fields(Shelf)} | {"planks"}


def test_methods_that_were_written_before_a_field_was_renamed_are_read():
    with pytest.warns(FutureWarning, match="max_points of integrated_gradients"):
        made = NoiseAverage("integrated_gradients(max_points=50)")
    assert made.inner == IntegratedGradients(max_nodes=50)
    with pytest.warns(FutureWarning, match="max_points of fundamental is called max_nodes now"):
        made = method("bim", {"max_points": 50, "steps": 3})
    assert (made.max_nodes, made.update) == (50, BIM(steps=3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method("integrated_gradients", {"max_nodes": 50})
