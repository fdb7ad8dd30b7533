"""What of the instructor's cells students may see. Imported in the instructor's container too: needs nbgrader only."""

from __future__ import annotations

from nbformat import NotebookNode
from nbgrader.preprocessors import ClearHiddenTests, ClearMarkScheme
from traitlets.config import Config


def without_hidden(source: str, config: Config | None = None) -> str:
    """A test cell as it is released: without its hidden regions."""
    cell = NotebookNode(cell_type="code", source=source)
    ClearHiddenTests(config=config)._remove_hidden_test_region(cell)
    return str(cell.source)


def without_marking_scheme(source: str, config: Config | None = None) -> str:
    """A cell as it is released: without what only graders should read."""
    cell = NotebookNode(cell_type="markdown", source=source)
    ClearMarkScheme(config=config)._remove_mark_scheme_region(cell)
    return str(cell.source)
