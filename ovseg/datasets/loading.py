"""Reading images."""
import os
from typing import Any, Dict, Optional

import cv2
from mmcv.transforms import LoadImageFromFile
from mmseg.registry import TRANSFORMS

from ovseg.image_files import FORMATS, check_content, image_size, read_file
from ovseg.utils import quoted


@TRANSFORMS.register_module()
class LoadImage(LoadImageFromFile):
    """mmcv's ``LoadImageFromFile`` whose errors name the file; grey, RGBA and 16-bit files become 8-bit BGR."""

    def transform(self, results: Dict[str, Any]) -> Optional[Dict[str, Any]]:
        """See ``LoadImageFromFile``.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is empty, cut off, too large or no image; its path is in the message.
        """
        path = results['img_path']
        name = f'image {quoted(path)}'
        broken = f'cannot read {name}: the file is empty, corrupt or no image of a known kind ({", ".join(FORMATS)})'
        if os.path.exists(path):  # otherwise it is in one of mmengine's storage backends, or missing
            content = read_file(path)
            if image_size(content, name) is None and not self.ignore_empty:
                raise ValueError(broken)
            check_content(content, name)
        try:
            loaded = super().transform(results)
        except (AssertionError, cv2.error) as error:
            raise ValueError(broken) from error
        if loaded is not None and loaded['img'].ndim != 3 and self.color_type == 'color':  # a PFM of one channel
            raise ValueError(broken)
        return loaded
