# Gated attention and outlier suppression alone.
# python tools/test.py configs/demo/modules/gated_only-outlier_tiny-clip_demo.py
_base_ = ['../gated_tiny-clip_demo.py']
model = dict(
    post_processors=[dict(type='OutlierSuppression', top_k=30)])
