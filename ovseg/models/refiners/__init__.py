"""Refinement of dense scores by the image."""
from ovseg.models.refiners.pamr import PAMR
from ovseg.models.refiners.refiner import Refiner

__all__ = ['PAMR', 'Refiner']
