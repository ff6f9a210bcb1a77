# SC-CLIP, with blocks that fit the four of the tiny CLIP.
# python tools/test.py configs/demo/scclip_tiny-clip_demo.py
_base_ = ['../_base_/models/tiny-clip.py', '../_base_/datasets/demo_scenes.py', '../_base_/default_runtime.py']
model = dict(
    vocabulary=dict(names='demo_scenes'),
    image_encoder=dict(type='SCCLIPEncoder', pre_layer=3, post_layer=2, levels=(2, 3)))
