"""Classifiers on top of the frozen encoder."""
from ovseg.models.classifiers.token_classifier import TokenClassifier

__all__ = ['TokenClassifier']
