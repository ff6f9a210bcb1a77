"""Ablations: many settings of a config, run together, compared with it."""
