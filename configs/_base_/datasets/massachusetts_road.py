# Massachusetts Roads, test.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('massachusetts_road'))
protocol = __import__('ovseg').protocol('massachusetts_road')
