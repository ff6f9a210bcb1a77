# PAXRay-4, lungs test in MESS.
_base_ = ['../pipelines/short_side_336.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('mess_paxray_lungs'))
protocol = __import__('ovseg').protocol('mess_paxray_lungs')
