# WHU Aerial, val.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('whu_aerial'))
protocol = __import__('ovseg').protocol('whu_aerial')
