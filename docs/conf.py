"""The documentation site: ``pip install '.[docs]' && sphinx-build -W docs build/site``."""

import html
from importlib.metadata import version as version_of

from docutils import nodes
from latex2mathml.converter import convert

project = "rnnx"
author = "The rnnx developers"
copyright = "The rnnx developers, MIT licence"
version = release = version_of("rnnx")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["sg_execution_times.rst", "gallery/sg_execution_times.rst"]
html_theme = "pydata_sphinx_theme"
html_title = "rnnx"
html_static_path = ["img"]
html_theme_options = {
    "show_toc_level": 2,
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navbar_persistent": [],
    "navbar_end": ["search-button", "theme-switcher"],
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}

html_math_renderer = "mathml"  # what browsers show by themselves: pages need nothing of other hosts
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
copybutton_prompt_text = ">>> "

# Doors are described without the frameworks they open to.
autodoc_mock_imports = [
    "torch", "keras", "sklearn", "tensorflow", "jax", "starlette", "uvicorn", "prometheus_client", "anyio",
    "dask", "pyspark", "pandas", "mpi4py",
]  # fmt: skip
autodoc_typehints = "none"  # docstrings say types and shapes
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

suppress_warnings = ["config.cache"]  # the gallery's configuration has a function

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": "/owner_snippet|/stateful_streaming|/monte_carlo",  # these run while the site is built
    "reset_argv": lambda conf, script: [] if "monte_carlo" in script["src_file"] else ["--tiny"],
    "download_all_examples": False,
    "show_signature": False,
}


def _math(display):
    def visit(translator, node):
        text = node.astext()
        formula = convert(text, display=display)
        # What is read where MathML is not: a text browser, the clipboard.
        formula = formula.replace("<math ", f'<math alttext="{html.escape(text, quote=True)}" ', 1)
        if display == "block":  # one that is too long for a phone is moved by itself
            formula = f'<div style="overflow: auto hidden; padding: 0.2rem 0; margin-bottom: 1rem">{formula}</div>\n'
        translator.body.append(formula)
        raise nodes.SkipNode

    return visit


def setup(app):
    app.add_html_math_renderer(
        "mathml", inline_renderers=(_math("inline"), None), block_renderers=(_math("block"), None)
    )
