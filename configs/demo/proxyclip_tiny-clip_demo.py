# ProxyCLIP with the tiny CLIP's own second block as guide, in place of DINO.
# python tools/test.py configs/demo/proxyclip_tiny-clip_demo.py
_base_ = ['../_base_/models/tiny-clip.py', '../_base_/datasets/demo_scenes.py', '../_base_/default_runtime.py']
model = dict(
    vocabulary=dict(names='demo_scenes'),
    image_encoder=dict(type='ProxyCLIPEncoder', guide=dict(type='CLIPGuide', layer=2)))
