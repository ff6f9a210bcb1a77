# CHN6-CUG, val.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('chn6_cug'))
protocol = __import__('ovseg').protocol('chn6_cug')
