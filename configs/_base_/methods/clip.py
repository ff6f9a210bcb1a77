# Unmodified CLIP: its own attention, residual and MLP in the last block, every patch scored.
method = dict(
    image_encoder=dict(attention=dict(type='Vanilla'), ignore_residual=False),
    windows=dict(pad_mode='none'))
