"""Comparison of the scores of presets with those that are expected of them."""
