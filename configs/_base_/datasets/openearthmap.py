# OpenEarthMap, val without xBD.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('openearthmap'))
protocol = __import__('ovseg').protocol('openearthmap')
