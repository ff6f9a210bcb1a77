# SCLIP: correlative self-attention; residual and MLP stay.
method = dict(model_type='SCLIP', ignore_residual=False, pad_mode='none')
