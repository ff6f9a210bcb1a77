# VDD, test.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('vdd'))
protocol = __import__('ovseg').protocol('vdd')
