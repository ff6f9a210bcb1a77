"""Checks of data sets, and conversion of their annotations."""
