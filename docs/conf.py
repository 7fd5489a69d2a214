"""The documents: Markdown, built by Sphinx. ``make docs`` writes them to ``docs/_build``."""

from __future__ import annotations

project = "synkrone-socket"
author = "The authors of synkrone-socket"
copyright = "The authors of synkrone-socket, MIT licensed"  # noqa: A001, Sphinx has it so

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
language = "en"

# Headings can be linked to, as on GitHub.
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline", "colon_fence"]

html_theme = "furo"
html_title = "synkrone-socket"
html_static_path = ["_static"]
# Nothing is loaded from elsewhere, and nothing says where the sources lay.
html_copy_source = False
html_show_sphinx = False

# External addresses are checked for their form by the tests, which need no network.
nitpicky = True
