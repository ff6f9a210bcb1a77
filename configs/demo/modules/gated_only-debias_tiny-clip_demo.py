# Gated attention and global debiasing alone.
# python tools/test.py configs/demo/modules/gated_only-debias_tiny-clip_demo.py
_base_ = ['../gated_tiny-clip_demo.py']
model = dict(
    post_processors=[dict(type='GlobalDebias', factor=0.2)])
