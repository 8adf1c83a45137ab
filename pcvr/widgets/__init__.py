"""The workbook's widgets: each builder returns ``(box, controls)``, and each callback is an ordinary function."""
