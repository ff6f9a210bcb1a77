# ClearCLIP: QQ attention, no residual, no MLP; large windows, padded at their centre.
method = dict(
    image_encoder=dict(attention=dict(type='ClearCLIP'), ignore_residual=True),
    windows=dict(pad_mode='center', crop=448, stride=224),
    decoder=dict(logit_scale=50))
