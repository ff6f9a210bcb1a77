# LoveDA, val.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('loveda'))
protocol = __import__('ovseg').protocol('loveda')
