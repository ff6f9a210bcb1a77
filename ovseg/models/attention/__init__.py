"""Attention variants of the last block (one file each, in ``ATTENTIONS``) and the mid-layer similarity map."""
from ovseg.models.attention.clearclip import clearclip
from ovseg.models.attention.gated import gated
from ovseg.models.attention.kk import kk
from ovseg.models.attention.maskclip import maskclip
from ovseg.models.attention.naclip import naclip
from ovseg.models.attention.sclip import sclip
from ovseg.models.attention.segearth import segearth
from ovseg.models.attention.sfp import sfp
from ovseg.models.attention.similarity import similarity_map
from ovseg.models.attention.vanilla import vanilla

__all__ = ['clearclip', 'gated', 'kk', 'maskclip', 'naclip', 'sclip', 'segearth', 'sfp', 'similarity_map', 'vanilla']
