# ISPRS Vaihingen, val, patches of 512 pixels: 398 images, 6 classes.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('vaihingen'))
protocol = __import__('ovseg').protocol('vaihingen')
