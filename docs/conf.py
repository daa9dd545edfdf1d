"""How Sphinx makes the pages of `make docs` (see docs/tools/pages.py for what it reads).

The source is the root of the repository, and so every relative link of a page is the same on GitHub and in the site.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docutils import nodes  # noqa: E402

from docs.tools import blocks, pages  # noqa: E402 - the line above lets it be found

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "spark_nas"
copyright = "the authors of spark_nas, Apache-2.0"
extensions = ["myst_parser"]
root_doc = "docs/index"
include_patterns = pages.pages()
exclude_patterns = [".*", "docs/site", "spark_nas", "tests", "runs", "dist", "build"]

myst_heading_anchors = 3
html_theme = "furo"
html_title = "spark_nas"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["static/redirect"]
html_copy_source = False
html_show_sphinx = False
highlight_language = "text"
pygments_style = "default"
pygments_dark_style = "monokai"
nitpicky = True


_LEXERS = {"shell": "bash", "component": "python"}


def setup(app: Sphinx) -> None:
    """Fill in markers and links when a page is read, and colour blocks that name no language."""
    app.connect("source-read", _expand)
    app.connect("doctree-read", _colour)


def _expand(app: Sphinx, docname: str, source: list[str]) -> None:
    source[0] = pages.expand(f"{docname}.md", source[0])


def _colour(app: Sphinx, doctree: nodes.document) -> None:
    for block in doctree.findall(nodes.literal_block):
        if block.get("language") in (None, "none", "text", "default"):
            kind = blocks.language(block.astext())
            block["language"] = _LEXERS.get(kind, kind)
