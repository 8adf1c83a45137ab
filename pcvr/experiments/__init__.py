"""Reproducible experiments: a config goes in, a record comes out and is saved on disk."""

from pcvr.experiments.experiment import HEADLINE, Experiment, further_attacks, run_experiment, sweep

__all__ = ["HEADLINE", "Experiment", "further_attacks", "run_experiment", "sweep"]
