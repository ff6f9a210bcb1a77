"""Upsamplers of patch embeddings, one file each."""
from ovseg.models.upsamplers.bilinear_upsampler import BilinearUpsampler
from ovseg.models.upsamplers.upsampler import Upsampler, upsample

__all__ = ['BilinearUpsampler', 'Upsampler', 'upsample']
