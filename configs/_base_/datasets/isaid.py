# iSAID, val, in mmseg's patches.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('isaid'))
protocol = __import__('ovseg').protocol('isaid')
