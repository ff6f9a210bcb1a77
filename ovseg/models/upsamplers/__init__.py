"""Upsamplers of patch embeddings, one file each."""
from ovseg.models.upsamplers.bilinear_upsampler import BilinearUpsampler
from ovseg.models.upsamplers.jbu_one import JBUOne
from ovseg.models.upsamplers.linear_upsampler import LinearUpsampler, UpsampledPatches
from ovseg.models.upsamplers.upsampler import Upsampler, upsample

__all__ = ['BilinearUpsampler', 'JBUOne', 'LinearUpsampler', 'UpsampledPatches', 'Upsampler', 'upsample']
