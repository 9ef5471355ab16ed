"""A heatmap in LaTeX shows each text and runs none of it."""

import re
import shutil
import subprocess

import pytest
import torch
from helpers.made_results import HOSTILE, attribution

from hf_attrib.render.latex import escaped

HOSTILE_LATEX = (
    "\\input{/etc/passwd}", "\\end{document}", "}}}", "{{{", "$$", "$x_1^2$", "50%", "%", "a & b",
    "#1", "~", "^^M", "\\\\", "``''--,,<<>>?`!`", '"', "naïve", "Łódź", "çŸş ắ", "|", "∑", "\\",
    "a\n\nb", "[", "]",
)  # fmt: skip
#: All that may stand between texts.
_COMMANDS = (
    r"\\text(backslash|ascii(circum|tilde)|less|greater|bar|visiblespace)\{\}",
    r"\$\\(hookleftarrow|mapsto|[lr]angle|emptyset|pm|cdot|times)\$|\$-\$|\\dots\{\}",
    r"\\[{}$&#%_]",
    r"\{\\char34\}|\{[-'`,?!]\}",
    r"\\[`'^~=u.\"rHvc]\{[A-Za-z]\}",
    r"\\hfattribtext\{U\+[0-9A-F]{4,6}( U\+[0-9A-F]{4,6})*\}\{[^\x00-\x7f]+\}",
    r"\\par\n",
)


@pytest.mark.parametrize("text", HOSTILE_LATEX, ids=ascii)
def test_what_is_left_beside_known_commands_is_plain(text):
    """Letters, digits and signs without meaning, in ASCII; so no engine can stumble."""
    left = re.sub("|".join(f"(?:{command})" for command in _COMMANDS), "", escaped(text))
    assert re.fullmatch(r"[A-Za-z0-9 ./:;()*+=@\[\]]*", left)


def test_each_character_is_written_as_latex_has_it():
    assert escaped("\\{}") == r"\textbackslash{}\{\}"
    assert escaped("a_b^c~") == r"a\_b\textasciicircum{}c\textasciitilde{}"
    assert escaped("é漢字") == r"\'{e}\hfattribtext{U+6F22 U+5B57}{漢字}"
    assert escaped("--") == "{-}{-}"


def test_words_stand_on_the_colours_of_their_totals(tmp_path):
    result = attribution([[2.0, -2.0, 0.0]], ["one two", " red", " none"], [" x"])
    latex = result.to_latex(tmp_path / "heatmap.tex")
    assert (tmp_path / "heatmap.tex").read_text(encoding="utf-8") == latex
    boxes = re.findall(
        r"colorbox\[RGB\]\{(\d+),(\d+),(\d+)\}\{\\strut\\textcolor\[RGB\]\{[\d,]+\}\{(\w+)\}\}",
        latex,
    )
    assert [box[3] for box in boxes] == ["one", "two", "red"]
    blue, _, orange = [tuple(map(int, box[:3])) for box in boxes]
    assert blue[2] > blue[0]
    assert orange[0] > orange[2]
    assert "\\ none%" in latex


def test_scores_that_are_no_numbers_are_told():
    assert "a\\ +nan%" in attribution([[torch.nan, 1.0]], ["a", "b"], ["c"]).to_latex()


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")
def test_pdflatex_takes_any_text(tmp_path):
    pieces = [*HOSTILE, *HOSTILE_LATEX]
    result = attribution(torch.randn(2, len(pieces)), pieces, ["\\x{", "漢%"], model="m_$%\\漢")
    document = "\\documentclass{article}\\usepackage{xcolor}\\begin{document}%s\\end{document}"
    (tmp_path / "a.tex").write_text(document % result.to_latex(), encoding="utf-8")
    ran = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert (tmp_path / "a.pdf").stat().st_size > 1000
