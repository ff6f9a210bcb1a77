# WBS-SI, SegEarth-OV's val split.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('wbs_si'))
protocol = __import__('ovseg').protocol('wbs_si')
