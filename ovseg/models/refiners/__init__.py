"""Refinement of dense scores by the image."""
from ovseg.models.refiners.lposs_plus import LPOSSPlus
from ovseg.models.refiners.pamr import PAMR
from ovseg.models.refiners.refiner import InputRefiner, Refiner

__all__ = ['PAMR', 'InputRefiner', 'LPOSSPlus', 'Refiner']
