# Label files of 16 bits, in which 65535 is ignored; all else as in short_side_336.py.
_base_ = ['short_side_336.py']
load = dict(type='LoadWideAnnotations')
test_pipeline = [*_base_.test_pipeline[:2], load, _base_.test_pipeline[3]]
flips, _, pack = _base_.tta_pipeline[2].transforms
tta_pipeline = [*_base_.tta_pipeline[:2], dict(type='TestTimeAug', transforms=[flips, [load], pack])]
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_evaluator = dict(ignore_index=65535)
