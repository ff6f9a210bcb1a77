# A data set of your own: images/*.jpg, labels/*.png of the same names, and folders in these. See docs/own_dataset.md.
_base_ = ['pipelines/short_side_336.py']
test_dataloader = dict(
    num_workers=2,
    dataset=dict(
        type='BaseSegDataset',
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.jpg',
        seg_map_suffix='.png'))
