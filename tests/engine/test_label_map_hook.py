from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData
from mmseg.registry import DATASETS, HOOKS
from mmseg.structures import SegDataSample
from PIL import Image


@pytest.mark.parametrize('classes, reduce_zero_label', [(4, False), (4, True), (255, True), (300, False), (300, True)])
def test_every_prediction_is_written_with_the_ids_of_the_annotations(classes, reduce_zero_label, labelled, tmp_path):
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(labelled(classes, reduce_zero_label))
    runner = SimpleNamespace(test_dataloader=SimpleNamespace(dataset=dataset))
    hook = HOOKS.build(dict(type='LabelMapHook', out_dir=str(tmp_path / 'out')))
    hook.before_test(runner)
    expected = {}
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        labels = torch.randint(classes, (1, *sample.ori_shape))
        labels[0, 0, 0] = classes - 1
        expected[sample.img_path] = labels[0].numpy() + reduce_zero_label
        if index == 3:
            labels[0, 1, 1] = 255 if classes < 256 else 65535
            expected[sample.img_path][1, 1] = 255 if classes + reduce_zero_label < 256 else 65535
        sample = SegDataSample(metainfo=sample.metainfo, pred_sem_seg=PixelData(data=labels))
        hook.after_test_iter(runner, index, outputs=[sample])
    assert len(expected) == len(list((tmp_path / 'out').rglob('*.png'))) == 5
    for path, labels in expected.items():
        image = Image.open(path.replace('/images/', '/out/').replace('.jpg', '.png'))
        assert np.array_equal(np.array(image), labels)
        assert (image.mode == 'L') == (classes + reduce_zero_label <= 256 and labels.max() < 65535)
