# SCLIP: correlative self-attention; residual and MLP stay.
method = dict(
    image_encoder=dict(attention=dict(type='SCLIP'), ignore_residual=False),
    windows=dict(pad_mode='none'))
