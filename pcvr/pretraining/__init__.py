"""Makes the embedded models; nothing else of the package imports it."""
