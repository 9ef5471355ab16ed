"""The attack of a generator that somebody trained."""

import pytest
import torch
from helpers.attack_problems import SMOOTH, U, walk

from hf_attrib.attacks import AdvGAN, attack
from hf_attrib.errors import InputError
from hf_attrib.methods import Fundamental


def halves(x):
    """A generator without a past: half of the way back to where all embeddings are 0."""
    return -x / 2


def test_advgan_goes_where_its_generator_leads_within_the_ball():
    found = walk(AdvGAN(halves, eps=0.2)).points[:, 0, 0]
    change = (-SMOOTH.x[0, 0] / 2).clamp(-0.2 * U, 0.2 * U)
    torch.testing.assert_close(found, torch.stack([SMOOTH.x[0, 0], SMOOTH.x[0, 0] + change]))
    auto = walk(AdvGAN(halves), each=True)
    assert (auto.eps == walk(attack("bim", {}), each=True).eps).all()


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (None, "advgan needs a trained generator, and generator is None"),
        ("mine", "needs a trained generator, and generator is 'mine'.*the command line cannot"),
    ],
)
def test_advgan_refuses_without_a_generator(generator, message):
    with pytest.raises(InputError, match=message):
        AdvGAN(generator)


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (lambda z: z[:1], r"returned \(1, 3\) for embeddings \(4, 3\)"),
        (lambda z: None, r"returned NoneType"),
        (lambda z: z / 0, "finite changes of the same shape"),
    ],
)
def test_advgan_refuses_what_is_no_change(generator, message):
    with pytest.raises(InputError, match=message):
        walk(AdvGAN(generator, eps=0.1))


def test_advgan_is_written_by_the_name_of_its_generator():
    assert str(AdvGAN(halves, eps=0.2)) == "advgan(generator=halves, eps=0.2)"


@pytest.mark.parametrize("written", ["advgan", "advgan(generator=mine)"])
def test_advgan_cannot_be_given_as_words(written):
    with pytest.raises(InputError, match="the command line cannot"):
        Fundamental(written)
