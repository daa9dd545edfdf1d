"""Random crop, horizontal flip and cutout, on whole batches of images.

Crop with padding and flip as in He et al. 2016 (section 4.2); cutout as in DeVries & Taylor 2017: the centre is
uniform over the pixels, so the square may reach over the edge, where it is clipped. The order is that of DARTS:
crop and flip stored values (padding is black), normalise, then cut out (zero is the mean).

Shapes: B images, C channels, H rows, W columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


def crop(x_BCHW: Tensor, padding: int, offsets_B2: Tensor) -> Tensor:
    """Pad each side with zeros and take the H x W window whose corner is at (row, column) of `offsets_B2`."""
    _, _, height, width = x_BCHW.shape
    padded = F.pad(x_BCHW, (padding, padding, padding, padding))
    rows_BH = offsets_B2[:, 0, None] + torch.arange(height, device=x_BCHW.device)
    columns_BW = offsets_B2[:, 1, None] + torch.arange(width, device=x_BCHW.device)
    return _gather(padded, rows_BH, columns_BW)


def flip(x_BCHW: Tensor, which_B: Tensor) -> Tensor:
    """Mirror left and right the images where `which_B` is true."""
    return torch.where(which_B[:, None, None, None], x_BCHW.flip(3), x_BCHW)


def cutout(x_BCHW: Tensor, size: int, centres_B2: Tensor) -> Tensor:
    """Zero a `size` x `size` square around (row, column) of `centres_B2`, clipped at the edges."""
    _, _, height, width = x_BCHW.shape
    rows_BH = _inside(torch.arange(height, device=x_BCHW.device), centres_B2[:, 0, None], size)
    columns_BW = _inside(torch.arange(width, device=x_BCHW.device), centres_B2[:, 1, None], size)
    return x_BCHW.masked_fill((rows_BH[:, :, None] & columns_BW[:, None, :])[:, None], 0)


def _gather(x_BCHW: Tensor, rows_BH: Tensor, columns_BW: Tensor) -> Tensor:
    batch, channels = x_BCHW.shape[:2]
    b = torch.arange(batch, device=x_BCHW.device)[:, None, None, None]
    c = torch.arange(channels, device=x_BCHW.device)[None, :, None, None]
    return x_BCHW[b, c, rows_BH[:, None, :, None], columns_BW[:, None, None, :]]


def _inside(index: Tensor, centre: Tensor, size: int) -> Tensor:
    start = centre - size // 2
    return (index >= start) & (index < start + size)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is done to training images; `Augmentation()` does nothing, to inputs of any shape."""

    crop_padding: int = 0
    """Pixels of black added on each side before the crop; 0 does not crop."""
    flip: bool = False
    """Whether half of the images are mirrored."""
    cutout: int = 0
    """Side of the square cut out, in pixels; 0 cuts nothing."""

    @property
    def active(self) -> bool:
        """Whether it changes anything, and hence needs images."""
        return bool(self.crop_padding or self.flip or self.cutout)

    def geometry(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Crop and flip stored values. The generator is on the CPU, so every device draws the same."""
        if self.crop_padding:
            offsets = torch.randint(0, 2 * self.crop_padding + 1, (len(x), 2), generator=generator)
            x = crop(x, self.crop_padding, offsets.to(x.device))
        if self.flip:
            which = torch.randint(0, 2, (len(x),), generator=generator).bool()
            x = flip(x, which.to(x.device))
        return x

    def erase(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Cut out of normalised values."""
        if self.cutout:
            centres = torch.stack([torch.randint(0, n, (len(x),), generator=generator) for n in x.shape[2:]], dim=1)
            x = cutout(x, self.cutout, centres.to(x.device))
        return x
