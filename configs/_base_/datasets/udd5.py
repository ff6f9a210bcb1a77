# UDD5, val.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('udd5'))
protocol = __import__('ovseg').protocol('udd5')
