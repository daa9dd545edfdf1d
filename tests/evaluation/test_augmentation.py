"""Laws of the augmentation, on real digits."""

from __future__ import annotations

import torch
from torch import Tensor
from training_support import Digits

from spark_nas.evaluation.augmentation import Augmentation, crop, cutout, flip


def images(count: int = 32) -> Tensor:
    return torch.from_numpy(next(Digits().batches("train", count))[0])


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_crop_without_padding_is_the_identity() -> None:
    x = images()
    assert torch.equal(x, crop(x, 0, torch.zeros(len(x), 2, dtype=torch.int64)))


def test_a_crop_from_the_middle_of_the_padding_is_the_identity() -> None:
    x = images()
    assert torch.equal(x, crop(x, 2, torch.full((len(x), 2), 2)))


def test_a_crop_moves_each_image_by_its_own_offset_and_fills_with_black() -> None:
    x = images(2)
    cropped = crop(x, 1, torch.tensor([[0, 2], [2, 1]]))
    expected = torch.zeros_like(x)
    expected[0, :, 1:, :-1] = x[0, :, :-1, 1:]  # one down, one to the left
    expected[1, :, :-1, :] = x[1, :, 1:, :]  # one up
    assert torch.equal(expected, cropped)


def test_a_flip_is_an_involution() -> None:
    x = images()
    which = torch.arange(len(x)) % 2 == 0
    assert torch.equal(x, flip(flip(x, which), which))


def test_a_flip_mirrors_exactly_the_chosen_images() -> None:
    x = images(3)
    flipped = flip(x, torch.tensor([True, False, True]))
    assert torch.equal(torch.stack([x[0].flip(2), x[1], x[2].flip(2)]), flipped)


def test_a_cutout_zeros_exactly_its_square_clipped_at_the_edges() -> None:
    x = torch.ones(3, 2, 8, 8)
    cut = cutout(x, 4, torch.tensor([[4, 4], [0, 0], [7, 2]]))
    expected = torch.ones_like(x)
    expected[0, :, 2:6, 2:6] = 0
    expected[1, :, 0:2, 0:2] = 0
    expected[2, :, 5:8, 0:4] = 0
    assert torch.equal(expected, cut)


def test_an_odd_cutout_is_centred() -> None:
    cut = cutout(torch.ones(1, 1, 8, 8), 3, torch.tensor([[4, 4]]))
    assert torch.equal(torch.zeros(3, 3), cut[0, 0, 3:6, 3:6])
    assert int(cut.sum()) == 64 - 9


def test_the_same_seed_gives_the_same_images_and_another_seed_others() -> None:
    x, augmentation = images(), Augmentation(crop_padding=2, flip=True, cutout=3)
    first, same, other = (
        augmentation.erase(augmentation.geometry(x, g), g) for g in (generator(1), generator(1), generator(2))
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_shape_and_type_survive() -> None:
    x, augmentation = images(), Augmentation(crop_padding=2, flip=True, cutout=3)
    result = augmentation.erase(augmentation.geometry(x, generator()), generator())
    assert (x.shape, x.dtype) == (result.shape, result.dtype)


def test_no_augmentation_leaves_vectors_alone() -> None:
    x = torch.from_numpy(next(Digits(flat=True).batches("train", 8))[0])
    augmentation = Augmentation()
    assert torch.equal(x, augmentation.erase(augmentation.geometry(x, generator()), generator()))


def test_every_offset_of_the_crop_and_both_flips_occur() -> None:
    x = torch.zeros(400, 1, 8, 8)
    x[:, 0, 3, 3] = 1
    moved = Augmentation(crop_padding=1, flip=True).geometry(x, generator())
    places = {divmod(int(place), 8) for place in moved.flatten(1).argmax(1)}
    assert {(row, column) for row in (2, 3, 4) for column in (2, 3, 4, 5)} == places
