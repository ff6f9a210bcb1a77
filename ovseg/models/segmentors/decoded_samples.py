"""Results of the decoder in samples of mmseg."""
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from ovseg.models.decoder import Decoded


def add_decoded(sample: SegDataSample, decoded: Decoded) -> None:
    """Set what ``CLIPSegmentor.predict`` describes, which the sample replaces if it has it.

    Args:
        sample: Of the image.
        decoded: In the orientation of the original image.
    """
    sample.set_data(dict(pred_sem_seg=PixelData(data=decoded.labels.unsqueeze(0))))
    if decoded.probabilities is not None:
        sample.set_data(dict(seg_logits=PixelData(data=decoded.probabilities)))
    if decoded.confidence is not None:
        sample.set_data(dict(confidence=PixelData(data=decoded.confidence)))
    if decoded.undefined is not None and (pixels := int(decoded.undefined.sum())):
        sample.set_metainfo(dict(nonfinite_pixels=pixels))
        sample.set_data(dict(undefined=PixelData(data=decoded.undefined.unsqueeze(0))))
