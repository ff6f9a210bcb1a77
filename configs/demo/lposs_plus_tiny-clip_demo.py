# LPOSS with the tiny CLIP's own features as guide, and its scores propagated over pixels.
# python tools/test.py configs/demo/lposs_plus_tiny-clip_demo.py
_base_ = ['../_base_/models/tiny-clip.py', '../_base_/datasets/demo_scenes.py', '../_base_/default_runtime.py']
model = dict(
    vocabulary=dict(names='demo_scenes'),
    image_encoder=dict(attention=dict(type='MaskCLIP'), ignore_residual=False),
    post_processors=[dict(type='LPOSS', guide=dict(type='CLIPGuide', features='v'), neighbours=30)],
    decoder=dict(refiner=dict(type='LPOSSPlus')))
