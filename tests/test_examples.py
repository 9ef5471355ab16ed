"""The examples run offline and say what to look at."""

import chat_audit
import hallucination_check
import pytest
import rag_debugging
import regression_gate

pytestmark = pytest.mark.filterwarnings("ignore::hf_attrib.AttributionWarning")


def test_the_gate_closes_on_a_worse_model_and_not_on_the_same(capsys):
    assert regression_gate.main(["--noise", "0.9", "--prompts", "6"]) == 1
    said = capsys.readouterr().out
    assert "Look at the prompts" in said
    assert said.endswith("\nregression\n")
    assert regression_gate.main(["--noise", "0", "--prompts", "3"]) == 0
    assert capsys.readouterr().out.endswith("no regression found\n")


def test_intervals_are_of_pairs():
    """The same change everywhere is sure, however far apart prompts are."""
    assert regression_gate.paired([0.0, 5.0, 9.0], [1.0, 6.0, 10.0]) == (1.0, 1.0, 1.0)
    mean, low, high = regression_gate.paired([0.0, 0.0, 0.0, 0.0], [-1.0, 1.0, -1.0, 1.0])
    assert mean == 0
    assert low < 0 < high


def test_the_outdated_document_is_found(capsys):
    rag_debugging.main()
    said = capsys.readouterr().out
    assert "A: Bob's key is green." in said
    assert "'green' rests on bob-2019 (retrieved at rank 3)" in said
    assert "bob-2024 speaks against 'green'" in said


def test_answers_without_support_are_flagged(capsys):
    hallucination_check.main()
    said = capsys.readouterr().out
    assert "confirmed: Bob lives in Paris." in said
    assert said.count("own knowledge: nothing") == 2
    assert "Look at: Where does Fay live?" in said
    assert "Look at: Where does Bob live?" not in said


def test_the_instruction_that_an_answer_follows_is_found(capsys):
    chat_audit.main()
    said = capsys.readouterr().out
    assert "model: Bob's key is blue." in said
    assert "Look at: Bob's key is blue." in said
    assert "Bob's key is blue." not in said.split("Without it the model says:")[1]
