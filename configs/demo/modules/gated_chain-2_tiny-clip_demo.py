# Gated attention and the chain up to outlier suppression.
# python tools/test.py configs/demo/modules/gated_chain-2_tiny-clip_demo.py
_base_ = ['../gated_tiny-clip_demo.py']
model = dict(
    post_processors=[
        dict(type='SelfAttnEnhancement', enhancement_strength=0.1, min_self_attn_threshold=0.15, mode='feature'),
        dict(type='OutlierSuppression', top_k=30)])
