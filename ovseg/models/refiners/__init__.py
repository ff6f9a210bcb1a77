"""Refinement of dense scores by the image."""
from ovseg.models.refiners.pamr import PAMR

__all__ = ['PAMR']
