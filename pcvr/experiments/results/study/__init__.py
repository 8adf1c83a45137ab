"""The shipped store of the study: see `pcvr.experiments.whole_study`."""
