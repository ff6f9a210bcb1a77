# UAVid, test, patches of 1280 x 1080 pixels, moving and static cars in one class: 7 classes.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('uavid'))
protocol = __import__('ovseg').protocol('uavid')
