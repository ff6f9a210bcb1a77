# DRAM test in MESS.
_base_ = ['../pipelines/short_side_336.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('mess_dram'))
protocol = __import__('ovseg').protocol('mess_dram')
