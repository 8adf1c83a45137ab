"""Answers and their scores: attack success rate, clean utility, intervals, and the record that keeps them."""
