"""Experiments that can be told apart and repeated: a config in, a record out, kept on disk."""

from pcvr.experiments.experiment import HEADLINE, Experiment, further_attacks, run_experiment, sweep

__all__ = ["HEADLINE", "Experiment", "further_attacks", "run_experiment", "sweep"]
