# Gated attention and CTD alone.
# python tools/test.py configs/demo/modules/gated_only-ctd_tiny-clip_demo.py
_base_ = ['../gated_tiny-clip_demo.py']
model = dict(
    post_processors=[dict(type='CTD')])
