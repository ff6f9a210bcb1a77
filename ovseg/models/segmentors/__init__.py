"""Segmentors."""
from ovseg.models.segmentors.clip_seg_tta_model import CLIPSegTTAModel
from ovseg.models.segmentors.clip_segmentor import CLIPSegmentor

__all__ = ['CLIPSegTTAModel', 'CLIPSegmentor']
