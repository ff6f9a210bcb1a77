# CHASE DB1 test in MESS.
_base_ = ['../pipelines/short_side_336.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('mess_chase_db1'))
protocol = __import__('ovseg').protocol('mess_chase_db1')
