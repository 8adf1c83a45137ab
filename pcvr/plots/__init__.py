"""Every figure of the workbook: functions that take data and return a described matplotlib Figure, and show nothing."""

from pcvr.plots.describe import described, description, png

__all__ = ["described", "description", "png"]
