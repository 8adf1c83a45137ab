"""Parts of tools/site.py: the pages of the site, and its first page, on which the embedded model answers by itself."""
