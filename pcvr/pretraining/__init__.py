"""Pretraining of the embedded models; only the command line and tests import it."""
