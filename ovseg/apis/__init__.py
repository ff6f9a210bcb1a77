"""Inference on single images with class names given by the caller."""
from ovseg.apis.ovseg_inferencer import OVSegInferencer

__all__ = ['OVSegInferencer']
