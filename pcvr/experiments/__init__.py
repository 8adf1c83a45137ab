"""Runs that can be told apart and repeated: a config in, a record out, kept on disk."""

from pcvr.experiments.experiment import Experiment, run_experiment, sweep

__all__ = ["Experiment", "run_experiment", "sweep"]
