"""Reading images."""
from typing import Any, Dict, Optional

import cv2
from mmcv.transforms import LoadImageFromFile
from mmseg.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile`` whose errors name the file; grey, RGBA and 16-bit files become 8-bit BGR."""

    def transform(self, results: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """See ``LoadImageFromFile``.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is empty, cut off or no image; its path is in the message.
        """
        try:
            return super().transform(results)
        except (AssertionError, cv2.error) as error:
            raise ValueError(f'cannot read image {results["img_path"]}: the file is empty, corrupt or no image') from error
