# Inria, FCtL's test split, patches of 1000 pixels: 675 images, 2 classes.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('inria'))
protocol = __import__('ovseg').protocol('inria')
