# ClearCLIP: QQ attention in the last block; no residual, no MLP.
# python tools/test.py configs/demo/clearclip_tiny-clip_demo.py
_base_ = ['../_base_/models/tiny-clip.py', '../_base_/datasets/demo_scenes.py', '../_base_/default_runtime.py']
model = dict(
    vocabulary=dict(names='demo_scenes'),
    image_encoder=dict(attention=dict(type='ClearCLIP'), ignore_residual=True))
