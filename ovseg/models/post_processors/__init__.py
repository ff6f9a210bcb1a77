"""Training-free modules that clean dense features, one file each, and the chain that holds them."""
from ovseg.models.post_processors.chain import PostProcessorChain
from ovseg.models.post_processors.ctd import CTD
from ovseg.models.post_processors.global_debias import GlobalDebias
from ovseg.models.post_processors.lposs import LPOSS
from ovseg.models.post_processors.outlier_suppression import OutlierSuppression
from ovseg.models.post_processors.post_processor import PostProcessor, ScoreProcessor
from ovseg.models.post_processors.self_attn_enhancement import SelfAttnEnhancement

__all__ = ['CTD', 'LPOSS', 'GlobalDebias', 'OutlierSuppression', 'PostProcessor', 'PostProcessorChain', 'ScoreProcessor',
           'SelfAttnEnhancement']
