"""The course kit: what a teacher needs around the notebooks, made from ``workbook/`` and ``course/``."""
