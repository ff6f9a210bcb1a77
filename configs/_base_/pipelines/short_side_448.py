# Images with a short side of 448 pixels; all else as in short_side_336.py.
_base_ = ['short_side_336.py']
resize = dict(type='Resize', scale=(2048, 448), keep_ratio=True)
test_pipeline = [_base_.test_pipeline[0], resize, *_base_.test_pipeline[2:]]
tta_pipeline = [_base_.tta_pipeline[0], resize, *_base_.tta_pipeline[2:]]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
