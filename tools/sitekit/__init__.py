"""Parts of tools/build_site.py: the pages of the site, and the models that answer on its first page."""
