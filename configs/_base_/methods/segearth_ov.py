# SegEarth-OV without its upsampler: QQ + KK + VV attention, and the modified block's CLS scores subtracted.
method = dict(
    image_encoder=dict(attention=dict(type='SegEarth'), ignore_residual=True, cls_source='last_block'),
    windows=dict(pad_mode='center'),
    decoder=dict(logit_scale=50, cls_token_lambda=-0.3))
