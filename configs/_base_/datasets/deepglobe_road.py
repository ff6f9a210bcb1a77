# DeepGlobe Roads, GRSet's test split.
_base_ = ['../pipelines/long_side_448.py']
test_dataloader = dict(dataset=__import__('ovseg').dataset_config('deepglobe_road'))
protocol = __import__('ovseg').protocol('deepglobe_road')
