# UAVid, test, in patches, moving and static cars in one class.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('uavid'))
protocol = __import__('ovseg').protocol('uavid')
