# Gated: gated QQ x KK attention and the mid-layer similarity map; no residual, no MLP.
method = dict(image_encoder=dict(attention=dict(type='Gated'), similarity=dict(), ignore_residual=True))
