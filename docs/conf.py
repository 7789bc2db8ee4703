"""How Sphinx builds the documentation: without network, and with warnings fatal."""

import importlib.metadata

project = "reluscope"
author = "The reluscope developers"
copyright = "2026, The reluscope developers"
release = importlib.metadata.version("reluscope")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build"]
templates_path: list[str] = []

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

default_role = "literal"
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# References to our own names must resolve; torch's and xarray's cannot without their inventories, which lie elsewhere.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!reluscope).*")]

html_theme = "furo"
html_title = f"reluscope {release}"
html_show_sourcelink = False
