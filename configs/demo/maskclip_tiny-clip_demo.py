# MaskCLIP: in the last block each token keeps its own value; residual and MLP stay.
# python tools/test.py configs/demo/maskclip_tiny-clip_demo.py
_base_ = ['../_base_/models/tiny-clip.py', '../_base_/datasets/demo_scenes.py', '../_base_/default_runtime.py']
model = dict(
    vocabulary=dict(names='demo_scenes'),
    image_encoder=dict(attention=dict(type='MaskCLIP'), ignore_residual=False))
