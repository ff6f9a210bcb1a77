# context59.py at a short side of 448 pixels.
_base_ = ['context59.py', '../short_side_448.py']
test_pipeline = _base_.pipeline_448
tta_pipeline = _base_.tta_pipeline_448
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
