# SegEarth-OV without its upsampler: QQ + KK + VV attention, and the modified block's CLS scores subtracted.
# python tools/test.py configs/demo/segearth_ov_tiny-clip_demo.py
_base_ = ['../_base_/models/tiny-clip.py', '../_base_/datasets/demo_scenes.py', '../_base_/default_runtime.py']
model = dict(
    vocabulary=dict(names='demo_scenes'),
    image_encoder=dict(attention=dict(type='SegEarth'), ignore_residual=True, cls_source='last_block'),
    decoder=dict(cls_token_lambda=-0.3))
