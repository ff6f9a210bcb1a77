# NACLIP: KK attention with a Gaussian neighbourhood in the last block; no residual, no MLP.
# python tools/test.py configs/demo/naclip_tiny-clip_demo.py
_base_ = ['../_base_/models/tiny-clip.py', '../_base_/datasets/demo_scenes.py', '../_base_/default_runtime.py']
model = dict(
    vocabulary=dict(names='demo_scenes'),
    image_encoder=dict(attention=dict(type='NACLIP', gaussian_std=5.0), ignore_residual=True))
