# WHU Satellite II, test.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('whu_sat_ii'))
protocol = __import__('ovseg').protocol('whu_sat_ii')
