# Cityscapes val: 500 images of 2048 x 1024, 19 classes.
_base_ = ['../pipelines/short_side_560.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('cityscapes'))
