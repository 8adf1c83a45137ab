"""The audit of a data set: scores of every sample, a calibrated threshold, a report, and cleaned data."""
