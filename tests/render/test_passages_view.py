"""Passages in terminals and as text: bars, ranks, statuses in words, at any width."""

import io
from dataclasses import replace

import pytest
from helpers.made_results import HOSTILE, passages
from helpers.text_checks import harmless
from rich.console import Console

from hf_attrib.text.documents import Document

#: By construction: name, score, status of the whole answer, ranks by retrieval and by use.
ROWS = (
    ("first", "+2.00", "joint", "1 -> 2"),
    ("second", "+6.00", "joint", "4 -> 1"),
    ("third", "+2.00", "joint", "3"),
    ("fourth", "-3.00", "against", "2 -> 4"),
)


def printed(result, width, colors=None):
    screen = io.StringIO()
    console = Console(
        width=width, color_system=colors, force_terminal=colors is not None, file=screen
    )
    console.print(result)
    return screen.getvalue()


def rows(result, colors=None):
    """The table of 80 cells: its heads, and a line for each passage."""
    lines = printed(result, 80, colors).splitlines()
    at = next(i for i, line in enumerate(lines) if "passage" in line)
    return lines[at], lines[at + 1 : at + 5]


def test_a_row_says_score_status_and_both_ranks():
    heads, lines = rows(passages())
    assert heads.split() == ["passage", "score", "drop", "hold", "status", "rank"]
    for line, (name, score, status, rank) in zip(lines, ROWS, strict=True):
        number, found, _, *numbers = line.split()
        assert (found, numbers[0]) == (name, score)
        assert number == f"[{ROWS.index((name, score, status, rank)) + 1}]"
        assert line.split(status)[1].strip() == rank


def test_bars_are_as_long_as_scores_and_opposing_ones_look_otherwise():
    lines = rows(passages())[1]
    # 8 cells for 6 nats.
    assert [line.count("█") for line in lines] == [3, 8, 3, 0]
    assert [line.count("▒") for line in lines] == [0, 0, 0, 4]


def test_scores_that_are_all_small_have_no_long_bars():
    small = passages()
    small.scores.mul_(0.01)
    assert "█" not in printed(small, 80)


@pytest.mark.parametrize(("colors", "code"), [("standard", "36"), ("256", "38;5;")])
def test_bars_have_colours_where_there_are_some(colors, code):
    line = rows(passages(), colors)[1][1]
    assert f"\x1b[{code}" in line.split("█")[0]
    assert "joint" in line


@pytest.mark.parametrize("width", [24, 40])
def test_narrow_terminals_have_two_lines_for_each_passage(width):
    lines = printed(passages(), width).splitlines()
    for number, (name, score, status, _) in enumerate(ROWS, 1):
        at = lines.index(f"[{number}] {name}")
        assert lines[at + 1].split()[0] == score
        assert lines[at + 1].endswith(status)
    assert all(len(line) <= width for line in lines)


def test_ranks_are_left_out_where_they_say_nothing():
    made = passages()
    unknown = tuple(Document(d.text, index=d.index) for d in made.run.documents)
    without = replace(made, run=replace(made.run, documents=unknown))
    assert " rank" in printed(without, 80)  # its order is not that of the scores
    without.scores.copy_(without.scores.sum(0).expand(4, -1).contiguous())
    assert " rank" not in printed(without, 80)


def test_as_text_the_answer_is_cited_in_words():
    text = str(passages())
    assert "Bob is out. [2]\n  confirmed: without [2] 403 times less likely" in text
    assert "Eve is in. [1][3]\n  joint: needs [1] and [3] together, without which" in text
    assert "Zoe is down.\n  own knowledge: said as well without any passage" in text
    assert "\x1b" not in text


def test_text_of_passages_steers_no_terminal():
    for hostile in HOSTILE:
        assert harmless(printed(passages((f"{hostile}x", "b", "c", "d"), model=hostile), 80))
