"""Second frozen vision models that give features of the same windows."""
from ovseg.models.guides.clip_guide import CLIPGuide
from ovseg.models.guides.guide import Guide, build_guide, common_patch_size, load_guides
from ovseg.models.guides.timm_guide import TimmGuide
from ovseg.models.window_batch import GuideFeatures

__all__ = ['CLIPGuide', 'Guide', 'GuideFeatures', 'TimmGuide', 'build_guide', 'common_patch_size', 'load_guides']
