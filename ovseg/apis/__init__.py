"""For people who have pictures and words."""
from ovseg.apis.ovseg_inferencer import OVSegInferencer

__all__ = ['OVSegInferencer']
