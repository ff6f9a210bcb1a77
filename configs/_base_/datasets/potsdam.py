# ISPRS Potsdam, val, patches of 512 pixels: 2016 images, 6 classes.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('potsdam'))
protocol = __import__('ovseg').protocol('potsdam')
