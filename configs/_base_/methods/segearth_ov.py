# SegEarth-OV without its upsampler: QQ + KK + VV attention, and the modified block's CLS scores subtracted.
method = dict(
    model_type='SegEarth', ignore_residual=True, pad_mode='center', logit_scale=50, cls_token_lambda=-0.3,
    cls_source='last_block')
