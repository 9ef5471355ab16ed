"""Owen values against all orders that keep sentences and words together, one after another."""

from itertools import chain, permutations, product

import pytest
import torch
from helpers import tiny

from hf_attrib import Explainer
from hf_attrib.field import FunctionField, Groups
from hf_attrib.methods import Owen, Shapley
from hf_attrib.methods.perturbation.staircases import orders_within

EXACT = {"rtol": 0, "atol": 1e-9}
#: Sentences of words of players.
BOOKS = {
    "two sentences": [[[0, 1], [2]], [[3], [4, 5]]],
    "of unlike sizes": [[[0]], [[1], [2, 3, 4]], [[5]]],
    "one sentence": [[[0, 1], [2, 3], [4]]],
    "one word": [[[0, 1, 2, 3]]],
    "out of order": [[[4], [1, 5]], [[0, 2], [3]]],
    "words of one token": [[[0], [1], [2]], [[3], [4]]],
}


def labelled(book):
    """The sentence and the word of each player, [2, n]; the same number may be in two sentences."""
    places = {
        player: (3 * s + 1, w)
        for s, words in enumerate(book)
        for w, word in enumerate(words)
        for player in word
    }
    return torch.tensor([places[player] for player in sorted(places)]).T


class Book(FunctionField):
    """A random game of players in words and sentences, whose inputs are 0 or 1."""

    def __init__(self, book, seed=0):
        labels = labelled(book)
        count = labels.shape[1]
        drawn = torch.Generator().manual_seed(seed)
        self.table = torch.randn(2**count, 2, generator=drawn).double()
        self.asked = []

        def function(z):
            codes = (z[..., 0].long() * 2 ** torch.arange(count)).sum(-1)
            self.asked += codes.tolist()
            return self.table[codes]

        everyone = torch.arange(count)[None]
        groups = Groups(everyone, everyone >= 0, labels[:1], labels[1:])
        super().__init__(function, 2, count, groups=groups)

    def v(self, players):
        return self.table[sum(2**player for player in players)]

    def play(self, method):
        x = torch.ones(1, 1, self.movable.shape[1], 1).double()
        return method(self, x, torch.zeros_like(x))


def orders_of(tree):
    """All orders of what is in a tree in which each branch stays together."""
    if isinstance(tree, int):
        return [(tree,)]
    return [
        sum(choice, ())
        for order in permutations(tree)
        for choice in product(*(orders_of(branch) for branch in order))
    ]


def over_orders(field, orders):
    scores = torch.zeros(field.movable.shape[1], 2).double()
    for order in orders:
        for place, player in enumerate(order):
            scores[player] += field.v(order[: place + 1]) - field.v(order[:place])
    return scores.T / len(orders)


def shapley_of_parts(field, parts, after=()):
    """The Shapley values of parts as players, each a list of players."""
    totals, every = torch.zeros(len(parts), 2).double(), list(permutations(range(len(parts))))
    for order in every:
        present = after
        for part in order:
            totals[part] += field.v((*present, *parts[part])) - field.v(present)
            present = (*present, *parts[part])
    return totals.T / len(every)


@pytest.mark.parametrize("book", BOOKS.values(), ids=BOOKS)
def test_exact_scores_are_means_over_all_orders_that_keep_words_and_sentences_together(book):
    field = Book(book)
    found = field.play(Owen())
    torch.testing.assert_close(found.scores[0], over_orders(field, orders_of(book)), **EXACT)
    assert not found.standard_error.any()
    assert torch.equal(found.start_value[0], field.table[0])


@pytest.mark.parametrize("book", BOOKS.values(), ids=BOOKS)
def test_exact_scores_of_a_sentence_sum_to_its_shapley_value_in_the_game_of_sentences(book):
    field = Book(book)
    scores = field.play(Owen()).scores[0]
    parts = [list(chain(*words)) for words in book]
    sums = torch.stack([scores[:, part].sum(1) for part in parts], 1)
    torch.testing.assert_close(sums, shapley_of_parts(field, parts), **EXACT)


def test_of_one_sentence_words_have_their_shapley_values_in_the_game_of_words():
    book = BOOKS["one sentence"]
    field = Book(book)
    scores = field.play(Owen()).scores[0]
    sums = torch.stack([scores[:, word].sum(1) for word in book[0]], 1)
    torch.testing.assert_close(sums, shapley_of_parts(field, book[0]), **EXACT)


@pytest.mark.parametrize("samples", [None, 4])
@pytest.mark.parametrize("book", [[[[n]] for n in range(7)], [[[*range(7)]]]], ids=len)
def test_without_parts_owen_values_are_shapley_values_by_the_same_orders(book, samples):
    """Each player its own sentence, or all in one word."""
    ours, theirs = (Book(book).play(kind(samples=samples)) for kind in (Owen, Shapley))
    torch.testing.assert_close(ours.scores, theirs.scores, **EXACT)
    torch.testing.assert_close(ours.standard_error, theirs.standard_error, **EXACT)


@pytest.mark.parametrize("book", BOOKS.values(), ids=BOOKS)
@pytest.mark.parametrize("samples", [4, 6])
def test_sums_are_exact_at_any_number_of_orders(book, samples):
    for seed in range(3):
        field = Book(book, seed)
        found = field.play(Owen(samples=samples, seed=seed))
        gap = found.scores[0].sum(-1) - (field.table[-1] - field.table[0])
        assert gap.abs().max() < 1e-9


@pytest.mark.parametrize("book", BOOKS.values(), ids=BOOKS)
def test_drawn_orders_come_with_their_reverse_and_keep_words_and_sentences_together(book):
    allowed = set(orders_of(book))
    drawn = orders_within(labelled(book), 0, 40, seed=1)
    assert torch.equal(drawn[:, 0], drawn[:, 1].flip(-1))
    seen = {tuple(order) for order in drawn.flatten(0, 1).tolist()}
    assert seen <= allowed
    assert len(seen) > min(len(allowed), 40) / 2


def test_estimates_are_unbiased_and_their_errors_are_about_as_said():
    book = [[[0, 1], [2]], [[3], [4, 5]], [[6, 7]]]
    exact = Book(book).play(Owen()).scores[0]
    found = [Book(book).play(Owen(samples=4, seed=seed)) for seed in range(200)]
    scores = torch.stack([one.scores[0] for one in found])
    said = torch.stack([one.standard_error[0] for one in found]).square().mean(0).sqrt()
    spread = scores.std(0)
    assert ((scores.mean(0) - exact).abs() < 4 * spread / len(found) ** 0.5).all()
    assert said.mean() > 0.95 * spread.mean()
    assert (said < 2.5 * spread).all()


def test_only_subsets_that_an_order_may_pass_are_run():
    """16 rows of the tokens of two sentences after none or all of the other, less those twice."""
    field = Book([[[0], [1], [2]], [[3], [4], [5]]])
    field.play(Owen())
    first, last = 0b000111, 0b111000
    passed = {part | other for part in range(8) for other in (0, last)}
    passed |= {8 * part | other for part in range(8) for other in (0, first)}
    assert sorted(field.asked) == sorted(passed)


@pytest.mark.parametrize(("samples", "drawn"), [(None, True), (4, True), (32, False)])
def test_nothing_is_drawn_where_all_subsets_are_no_more_rows(samples, drawn):
    book = [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [10, 11]]]
    field = Book(book)
    found = field.play(Owen(samples=samples))
    assert bool(found.standard_error.any()) == drawn
    assert len(field.asked) <= (samples or 8) * 11 + 2
    if not drawn:
        exact = over_orders(field, orders_of(book))
        torch.testing.assert_close(found.scores[0], exact, **EXACT)


@pytest.mark.parametrize("samples", [None, 4])
def test_of_a_text_sentences_and_words_are_those_that_are_read(samples, keys):
    explainer = Explainer(*keys)
    prompt = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
    asked = {"method": Owen(samples=samples), "max_new_tokens": 1}
    found = explainer.explain(prompt, **asked)
    assert float(found.gap.max()) < 1e-4
    estimate = explainer.estimate(prompt, **asked)
    assert estimate.forward_rows[0] <= int(found.run.forward_rows) <= estimate.forward_rows[1]
    if samples is None:
        return
    # Sentences that the caller names are played as they are: this is the game of the quotient.
    named = explainer.explain(prompt, groups="sentence", method="shapley", max_new_tokens=1)
    exact = explainer.explain(prompt, groups="sentence", method="owen", max_new_tokens=1)
    torch.testing.assert_close(named.scores, exact.scores)


def test_of_a_model_sums_over_sentences_are_shapley_values_of_sentences():
    model = tiny.shared("llama", dtype=torch.float64)
    explainer = Explainer(model, tiny.tokenizer())
    prompt = "a b. c d."
    asked = {"response_ids": tiny.ids(2), "method": "owen"}
    by_token = explainer.explain(prompt, **asked)
    by_sentence = explainer.explain(prompt, **asked, groups="sentence")
    joined = by_token.group("sentence")
    assert joined.pieces == by_sentence.pieces
    torch.testing.assert_close(joined.scores, by_sentence.scores, rtol=0, atol=1e-6)
