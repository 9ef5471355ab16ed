"""A notebook that Jupyter itself runs shows the page, in a browser, and figures."""

import subprocess
import sys

import pytest
from helpers.pages import PROMPT

CELLS = (
    "import hf_attrib\n"
    "model = hf_attrib.attach(*hf_attrib.embedded.load('keys-llama'))\n"
    f"result = model.explain({PROMPT!r})",
    "result",
    "result.plot()",
    "model.explain('')",
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What each cell of a notebook shows, once a kernel of its own has run it."""
    for needed in ("nbclient", "ipykernel", "matplotlib"):
        pytest.importorskip(needed)
    nbformat = pytest.importorskip("nbformat")
    path = tmp_path_factory.mktemp("notebook") / "notebook.ipynb"
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    run = "import sys; from nbclient.cli import main; main(sys.argv[1:])"
    subprocess.run(
        [sys.executable, "-c", run, str(path), "--inplace", "--allow-errors", "--timeout=240"],
        check=True,
        timeout=300,
    )
    return [cell.outputs for cell in nbformat.read(path, as_version=4).cells]


@pytest.mark.slow
def test_a_cell_shows_a_page_that_works(outputs, show):
    (shown,) = outputs[1]
    page = show(f"<!doctype html><body>{shown.data['text/html']}")
    frame = page.frame_locator("iframe")
    blue = frame.locator("#rows .row", has_text="blue")
    blue.click()
    assert blue.get_attribute("aria-selected") == "true"


@pytest.mark.slow
def test_a_cell_shows_a_figure_once(outputs):
    (shown,) = outputs[2]
    assert "image/png" in shown.data


@pytest.mark.slow
def test_an_error_ends_with_its_sentence(outputs):
    error = outputs[3][-1]
    assert (error.ename, error.evalue) == (
        "InputError",
        "the prompt is empty; give at least one token to explain.",
    )
