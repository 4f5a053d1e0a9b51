"""The notebooks run, in their own folder and at the top level, and are saved with pictures and nothing private."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TOP = Path(__file__).parents[1]
NOTEBOOKS = sorted((TOP / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("folder", [TOP, TOP / "notebooks"], ids=["top", "notebooks"])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_from_end_to_end(path: Path, folder: Path) -> None:
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_saved_with_pictures_and_without_places(path: Path) -> None:
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    assert notebook.metadata.kernelspec.name == "python3"
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    text = path.read_text()
    assert text.count('"image/png"') >= 2
    assert not any(place in text for place in (str(TOP), "/home/", "/root/", "/tmp/", "/Users/"))
