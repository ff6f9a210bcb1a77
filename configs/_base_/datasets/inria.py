# Inria, FCtL's test split, in patches.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('inria'))
protocol = __import__('ovseg').protocol('inria')
