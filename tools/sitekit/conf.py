"""Settings of Sphinx; tools/build_site.py copies this file beside the sources."""

import pcvr

project = "pcvr"
author = copyright = "The pcvr authors"
version = release = pcvr.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_static"]
# Executed notebooks come in; nothing runs here.
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_heading_anchors = 4
# `name` in a docstring is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "sphinx_book_theme"
html_title = "pcvr"
html_static_path = ["_static"]
html_css_files = ["live/live.css", "live/answers.css", "live/site.css"]
html_context = {"default_mode": "auto"}
html_favicon = "_static/live/favicon.svg"
html_copy_source = html_show_sourcelink = False
html_last_updated_fmt = None
html_theme_options = {
    "use_download_button": False,
    "home_page_in_toc": True,
    "show_toc_level": 2,
    "show_navbar_depth": 1,
}
# From the page's own server: the menu of MathJax would load its parts from a network.
mathjax_path = "mathjax/tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}
