"""Sources of class-agnostic region maps, one file each."""
from ovseg.models.regions.npz_regions import NpzRegions
from ovseg.models.regions.regions import Regions, build_regions, region_map
from ovseg.models.regions.superpixel_regions import SuperpixelRegions
from ovseg.models.regions.transformers_regions import TransformersRegions

__all__ = ['NpzRegions', 'Regions', 'SuperpixelRegions', 'TransformersRegions', 'build_regions', 'region_map']
