# Cityscapes val.
_base_ = ['../pipelines/short_side_560.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('cityscapes'))
