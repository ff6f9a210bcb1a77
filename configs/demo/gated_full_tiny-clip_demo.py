# Gated with all four post-processors and their default settings.
# python tools/test.py configs/demo/gated_full_tiny-clip_demo.py
_base_ = ['gated_tiny-clip_demo.py']
model = dict(
    post_processors=[
        dict(type='SelfAttnEnhancement', enhancement_strength=0.1, min_self_attn_threshold=0.15, mode='feature'),
        dict(type='OutlierSuppression', top_k=30),
        dict(type='GlobalDebias', factor=0.2),
        dict(type='CTD')])
