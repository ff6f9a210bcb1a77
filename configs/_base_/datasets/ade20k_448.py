# ade20k.py at a short side of 448 pixels.
_base_ = ['../pipelines/short_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('ade20k'))
