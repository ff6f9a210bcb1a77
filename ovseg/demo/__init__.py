"""Scenes of the demo, drawn from random numbers."""
