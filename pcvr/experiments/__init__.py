"""Reproducible experiments: a config goes in, a record comes out and is saved on disk."""

from pcvr.experiments.experiment import HEADLINE, Experiment, further_attacks
from pcvr.experiments.run import run_experiment
from pcvr.experiments.sweeps import sweep

__all__ = ["HEADLINE", "Experiment", "further_attacks", "run_experiment", "sweep"]
