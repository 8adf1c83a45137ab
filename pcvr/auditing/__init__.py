"""The audit of a data set: scores, a calibrated threshold, a report, and the data without what is flagged."""
