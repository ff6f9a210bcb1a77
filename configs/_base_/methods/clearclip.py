# ClearCLIP: QQ attention, no residual, no MLP; large windows, padded at their centre.
method = dict(
    model_type='ClearCLIP', ignore_residual=True, pad_mode='center', logit_scale=50, slide_crop=448, slide_stride=224)
