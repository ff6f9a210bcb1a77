# ISPRS Potsdam, val, in mmseg's patches.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('potsdam'))
protocol = __import__('ovseg').protocol('potsdam')
