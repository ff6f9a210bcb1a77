"""Trainable heads."""
from ovseg.models.heads.outlier_impute_head import OutlierImputeHead

__all__ = ['OutlierImputeHead']
