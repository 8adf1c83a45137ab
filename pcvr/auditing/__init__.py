"""The audit of a data set: scores of every sample, a calibrated threshold, a report, and the data without what is flagged."""
