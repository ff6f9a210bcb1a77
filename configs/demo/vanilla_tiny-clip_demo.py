# Unmodified CLIP: its own attention, residual and MLP in the last block.
# python tools/test.py configs/demo/vanilla_tiny-clip_demo.py
_base_ = ['../_base_/models/tiny-clip.py', '../_base_/datasets/demo_scenes.py', '../_base_/default_runtime.py']
model = dict(
    vocabulary=dict(names='demo_scenes'),
    image_encoder=dict(attention=dict(type='Vanilla'), ignore_residual=False))
