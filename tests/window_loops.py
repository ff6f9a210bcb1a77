"""The straightforward loop that the decoder is compared with."""
from torch.nn import functional as F


def resized(maps, size):
    return F.interpolate(maps[None], size=size, mode='bilinear', align_corners=False)[0]


def loop_merge(scores, image_size, crop, stride, patch, pad_mode, out_size):
    """Upsample every window, cut its padding off, add it to a canvas, divide by the counts, resize.

    Args:
        scores: ``(windows, N, Q)``.
        image_size: ``(height, width)``.
        crop: Side of the windows, 0 for the whole image.
        stride: Step between them.
        patch: ``(height, width)`` of a patch.
        pad_mode: ``'center'`` or ``'none'``.
        out_size: ``(height, width)``.

    Returns:
        ``(Q, *out_size)`` float32, computed in float64: the float32 kernels of ``F.interpolate`` round positions on long
        sides, each in its own way.
    """
    scores = scores.double()
    height, width = image_size
    crop_h, crop_w = min(crop or height, height), min(crop or width, width)
    rows = (max(height - crop_h + stride - 1, 0) // stride if crop else 0) + 1
    cols = (max(width - crop_w + stride - 1, 0) // stride if crop else 0) + 1
    canvas, counts = scores.new_zeros(scores.shape[2], height, width), scores.new_zeros(height, width)
    windows = iter(scores)
    for row in range(rows):
        for col in range(cols):
            top = min(row * stride + crop_h, height) - crop_h
            left = min(col * stride + crop_w, width) - crop_w
            padded_h, padded_w, y, x = crop_h, crop_w, 0, 0
            if pad_mode == 'center':
                padded_h, padded_w = -(-crop_h // patch[0]) * patch[0], -(-crop_w // patch[1]) * patch[1]
                y, x = (padded_h - crop_h) // 2, (padded_w - crop_w) // 2
            grid = next(windows).t().reshape(-1, padded_h // patch[0], padded_w // patch[1])
            dense = resized(grid, (padded_h, padded_w))[:, y:y + crop_h, x:x + crop_w]
            canvas[:, top:top + crop_h, left:left + crop_w] += dense
            counts[top:top + crop_h, left:left + crop_w] += 1
    assert next(windows, None) is None
    return resized(canvas / counts, out_size).float()
