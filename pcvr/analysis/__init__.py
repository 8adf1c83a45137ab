"""Measurements for the notebooks: how a model reads, decides and answers, with and without a trigger."""
