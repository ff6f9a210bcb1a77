# SpaceNet Roads, GRSet's test split.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('spacenet_road'))
protocol = __import__('ovseg').protocol('spacenet_road')
