"""Frozen image towers, and the loading of CLIP models."""
from ovseg.models.towers.adapters import image_tower
from ovseg.models.towers.image_tower import ImageTower
from ovseg.models.towers.loading import LoadedCLIP, load_clip
from ovseg.models.towers.open_clip_tower import OpenCLIPTower
from ovseg.models.towers.timm_tower import TimmTower

__all__ = ['ImageTower', 'LoadedCLIP', 'OpenCLIPTower', 'TimmTower', 'image_tower', 'load_clip']
