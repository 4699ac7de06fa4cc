"""How the pages become a site: ``make docs``."""

from __future__ import annotations

from fundus import __version__

project = "fundus-zoo"
author = "The fundus-zoo developers"
release = version = __version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.extlinks",
    "sphinx-mathjax-offline",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "studies", "make_*.py", "conf.py"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
# docstrings that are inherited from scikit-learn refer to places of its own documentation
suppress_warnings = ["ref.ref"]

numpydoc_show_class_members = False
autosummary_generate = True
autodoc_typehints = "none"
extlinks = {
    "doi": ("https://doi.org/%s", "doi:%s"),
    "arxiv": ("https://arxiv.org/abs/%s", "arXiv:%s"),
}

# the examples are shown; they are run, and what they print is checked, by the tests
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "plot_gallery": False,
    "ignore_pattern": r"common\.py",
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,
}

html_theme = "pydata_sphinx_theme"
html_title = "fundus-zoo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {"index": [], "quick-start": []}
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": True,
    "navigation_depth": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copyright = "the fundus-zoo developers. Research software, not a medical device"
