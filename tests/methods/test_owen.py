"""Owen values against all orders that keep documents, sentences and words together, one by one."""

from itertools import permutations, product

import pytest
import torch
from helpers import tiny

from hf_attrib import Explainer, InputError
from hf_attrib.field import FunctionField, Groups
from hf_attrib.methods import Owen, Shapley
from hf_attrib.methods.perturbation.staircases import orders_within

EXACT = {"rtol": 0, "atol": 1e-9}
#: Sentences of words of players, some of them in documents.
BOOKS = {
    "two sentences": [[[0, 1], [2]], [[3], [4, 5]]],
    "of unlike sizes": [[[0]], [[1], [2, 3, 4]], [[5]]],
    "one sentence": [[[0, 1], [2, 3], [4]]],
    "one word": [[[0, 1, 2, 3]]],
    "out of order": [[[4], [1, 5]], [[0, 2], [3]]],
    "words of one token": [[[0], [1], [2]], [[3], [4]]],
    "two documents": [[[[0, 1], [2]], [[3]]], [[[4], [5]], [[6]]]],
    "documents of unlike sizes": [[[[0]]], [[[1, 5]], [[2], [3]]], [[[4]]]],
    "one document": [[[[0, 1], [2]], [[3], [4]]]],
}
LIBRARIES = [name for name in BOOKS if "document" in name]


def labelled(book):
    """Where each player is, coarsest first, [L, n]; a number may come again in another part."""
    places = dict(placed(book))
    return torch.tensor([places[player] for player in sorted(places)]).T


def placed(tree, *path):
    if isinstance(tree, int):
        return [(tree, path[:-1])]
    return [own for i, branch in enumerate(tree) for own in placed(branch, *path, 3 * i + 1)]


def leaves(tree):
    return [tree] if isinstance(tree, int) else [own for branch in tree for own in leaves(branch)]


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
        part = labels[:1] if len(labels) == 3 else None
        groups = Groups(everyone, everyone >= 0, labels[-2:-1], labels[-1:], part)
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
def test_exact_scores_are_means_over_all_orders_that_keep_parts_together(book):
    field = Book(book)
    found = field.play(Owen())
    torch.testing.assert_close(found.scores[0], over_orders(field, orders_of(book)), **EXACT)
    assert not found.standard_error.any()
    assert torch.equal(found.start_value[0], field.table[0])


@pytest.mark.parametrize("book", BOOKS.values(), ids=BOOKS)
def test_exact_scores_of_the_largest_parts_sum_to_shapley_values_in_their_game(book):
    field = Book(book)
    scores = field.play(Owen()).scores[0]
    parts = list(map(leaves, book))
    sums = torch.stack([scores[:, part].sum(1) for part in parts], 1)
    torch.testing.assert_close(sums, shapley_of_parts(field, parts), **EXACT)


@pytest.mark.parametrize("name", LIBRARIES)
def test_exact_scores_of_a_sentence_sum_to_its_owen_value_in_the_game_of_sentences(name):
    """Documents stay together in that game, whose players are whole sentences."""
    field, library = Book(BOOKS[name]), BOOKS[name]
    scores = field.play(Owen()).scores[0]
    sentences = [sentence for document in library for sentence in document]
    numbers = iter(range(len(sentences)))
    orders = orders_of([[next(numbers) for _ in document] for document in library])
    expected = torch.zeros(len(sentences), 2).double()
    for order in orders:
        present = ()
        for number in order:
            before, present = present, (*present, *leaves(sentences[number]))
            expected[number] += (field.v(present) - field.v(before)) / len(orders)
    sums = torch.stack([scores[:, leaves(sentence)].sum(1) for sentence in sentences], 1)
    torch.testing.assert_close(sums, expected.T, **EXACT)


def test_of_two_documents_scores_are_what_is_computed_by_hand():
    """A fact is in document one (player 0) or two (1 or 2), each worth nothing to the question 3.

    v = 1 where the question and a copy of the fact are there. As of three documents, one adds 1/6,
    two 1/6 and the question 2/3. In two, each copy of it replaces the other: half of its share.
    """
    library = [[[[0]]], [[[1]], [[2]]], [[[3]]]]
    field = Book(library)
    codes = torch.arange(16)
    fact, question = codes & 0b0111 > 0, codes & 0b1000 > 0
    field.table[:] = (fact & question).double()[:, None]
    found = field.play(Owen()).scores[0, 0]
    expected = torch.tensor([1 / 6, 1 / 12, 1 / 12, 2 / 3], dtype=torch.float64)
    torch.testing.assert_close(found, expected, **EXACT)


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


#: Twelve players in three documents.
SHELF = [[[[0, 1], [2]], [[3]]], [[[4, 5]], [[6], [7]]], [[[8, 9], [10, 11]]]]


@pytest.mark.parametrize("budget", [46, 70, 100, 130])
def test_sums_are_exact_at_any_budget_which_is_spent_and_kept(budget):
    field = Book(SHELF)
    found = field.play(Owen(budget=budget))
    gap = found.scores[0].sum(-1) - (field.table[-1] - field.table[0])
    assert gap.abs().max() < 1e-9
    # Of a random game the order is open to the end: no pair of staircases would fit any more.
    assert budget - 2 * 11 - 1 < len(field.asked) <= budget
    assert len(set(field.asked)) == len(field.asked)
    assert all(flags.all() for flags in found.notes.values())


def test_a_budget_that_holds_all_subsets_gives_exact_scores():
    field = Book(BOOKS["two documents"])
    exact = over_orders(field, orders_of(BOOKS["two documents"]))
    found = field.play(Owen(budget=64))
    torch.testing.assert_close(found.scores[0], exact, **EXACT)
    assert not found.standard_error.any()


def test_no_more_is_run_once_the_order_of_scores_is_settled():
    """Of a sum, each player adds the same in any order."""
    field = Book(SHELF)
    codes = torch.arange(2**12)
    worth = torch.arange(1, 13).double()
    field.table[:] = ((codes[:, None] >> torch.arange(12)) % 2 @ worth.long())[:, None].double()
    found = field.play(Owen(budget=120, samples=4))
    torch.testing.assert_close(found.scores[0, 0], worth, **EXACT)
    assert len(field.asked) <= 4 * 11 + 2
    assert not any(flags.any() for flags in found.notes.values())


def test_with_a_budget_owen_values_of_players_alone_are_shapley_values():
    book = [[[[n]] for n in range(9)]]
    ours, theirs = (Book(book).play(kind(budget=100)) for kind in (Owen, Shapley))
    torch.testing.assert_close(ours.scores, theirs.scores, **EXACT)


@pytest.mark.parametrize(
    ("book", "message"),
    [
        (SHELF, "budget is 45; four staircases of 12 players.* take 46 rows; give as many"),
        ([[[n]] for n in range(12)], "12 players.* take 46 rows; give as many"),
    ],
)
def test_a_budget_too_small_is_refused_with_what_is_needed(book, message):
    with pytest.raises(InputError, match=message):
        Book(book).play(Owen(budget=45))


def test_where_all_subsets_take_fewer_rows_than_staircases_that_is_said():
    with pytest.raises(InputError, match=r"budget is 7; .* take 10 rows; all subsets take 8"):
        Book([[[0]], [[1]], [[2]]]).play(Shapley(budget=7))


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


def test_of_documents_sums_are_shapley_values_of_documents_and_owen_values_of_sentences():
    explainer = Explainer(tiny.shared("llama", dtype=torch.float64), tiny.tokenizer())
    asked = {
        "documents": ["a. C.", "d."],
        "template": "{documents}{question}",
        "response_ids": tiny.ids(2),
    }
    nested = explainer.explain("e", **asked, groups="token", method="owen")
    documents = explainer.explain("e", **asked, groups="document", method="shapley")
    sentences = explainer.explain("e", **asked, groups="sentence", method="owen")
    assert not nested.standard_error.any()
    for found, joined in (
        (documents, nested.group("document")),
        (sentences, nested.group("sentence")),
    ):
        assert joined.pieces == found.pieces
        torch.testing.assert_close(joined.scores, found.scores, rtol=0, atol=1e-6)
    # In the flat game of sentences, those of the first document may come in apart.
    flat = explainer.explain("e", **asked, groups="sentence", method="shapley")
    assert (flat.scores - sentences.scores).abs().max() > 1e-4


def test_of_a_chat_sums_are_shapley_values_of_messages():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{% for m in messages %}[{{ m.content }}]{% endfor %}"
    explainer = Explainer(tiny.shared("llama", dtype=torch.float64), tokenizer)
    talk = [
        {"role": "user", "content": "a. b."},
        {"role": "assistant", "content": "c."},
        {"role": "user", "content": "d e"},
    ]
    by_token = explainer.explain(talk, response_ids=tiny.ids(2), method="owen")
    by_turn = explainer.explain(talk, response_ids=tiny.ids(2), method="shapley", groups="turn")
    assert not by_token.standard_error.any()
    torch.testing.assert_close(by_token.group("turn").scores, by_turn.scores, rtol=0, atol=1e-6)
