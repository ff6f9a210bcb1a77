"""Models: the segmentor and its components."""
from ovseg.models.classifiers import TokenClassifier
from ovseg.models.data_preprocessor import OVSegDataPreProcessor
from ovseg.models.dense_features import DenseFeatures
from ovseg.models.frozen_model_wrapper import FrozenModelWrapper
from ovseg.models.heads import OutlierImputeHead
from ovseg.models.refiners import PAMR
from ovseg.models.segmentors import CLIPSegmentor, CLIPSegTTAModel

__all__ = ['PAMR', 'CLIPSegTTAModel', 'CLIPSegmentor', 'DenseFeatures', 'FrozenModelWrapper', 'OVSegDataPreProcessor',
           'OutlierImputeHead', 'TokenClassifier']
