# CorrCLIP with superpixels as regions and the tiny CLIP's own second block as guide, in place of SAM 2 and DINO.
# python tools/test.py configs/demo/corrclip_tiny-clip_demo.py
_base_ = ['../_base_/models/tiny-clip.py', '../_base_/datasets/demo_scenes.py', '../_base_/default_runtime.py']
model = dict(
    vocabulary=dict(names='demo_scenes'),
    image_encoder=dict(
        type='CorrCLIPEncoder', guide=dict(type='CLIPGuide', layer=2), spatial_layers=1,
        regions=dict(type='SuperpixelRegions', segments=400)))
