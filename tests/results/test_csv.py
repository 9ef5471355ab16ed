"""A table as CSV is read back as it was."""

import csv

import torch
from helpers.made_results import HOSTILE, attribution


def test_each_score_is_a_line_that_reads_back(tmp_path):
    result = attribution(torch.randn(2, len(HOSTILE)), list(HOSTILE), ["a,\n", '"b"'])
    text = result.to_csv(tmp_path / "scores.csv")
    with open(tmp_path / "scores.csv", newline="", encoding="utf-8") as file:
        assert file.read() == text
        file.seek(0)
        read = list(csv.DictReader(file))
    rows = result.to_rows()
    assert len(read) == len(rows) == 2 * len(HOSTILE)
    for line, row in zip(read, rows, strict=True):
        assert list(line) == list(row)
        assert float(line["score"]) == row["score"]
        assert line["standard_error"] == ""
        assert line["generated_piece"] == row["generated_piece"]
        assert line["input_piece"] == row["input_piece"].replace("\ud800", "\\ud800")
