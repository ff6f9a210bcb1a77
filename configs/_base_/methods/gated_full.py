# Gated with all four post-processors and their default settings.
method = dict(
    image_encoder=dict(attention=dict(type='Gated'), similarity=dict(), ignore_residual=True),
    post_processors=[
        dict(type='SelfAttnEnhancement', enhancement_strength=0.1, min_self_attn_threshold=0.15, mode='feature'),
        dict(type='OutlierSuppression', top_k=30),
        dict(type='GlobalDebias', factor=0.2),
        dict(type='CTD')])
