# ResCLIP, with blocks that fit the four of the tiny CLIP.
# python tools/test.py configs/demo/resclip_tiny-clip_demo.py
_base_ = ['../_base_/models/tiny-clip.py', '../_base_/datasets/demo_scenes.py', '../_base_/default_runtime.py']
model = dict(vocabulary=dict(names='demo_scenes'), image_encoder=dict(type='ResCLIPEncoder', rcs_layers=(2, 3)))
