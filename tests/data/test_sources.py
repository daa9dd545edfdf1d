from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from spark_nas.data.sources import (
    CifarArchive,
    Digits,
    EncodedParquet,
    Idx,
    ImageFolder,
    Npz,
    Source,
    open_source,
)
from spark_nas.errors import DataError
from tests.data.source_files import (
    cifar_records,
    images,
    labels,
    png,
    write_cifar10,
    write_image_folder,
    write_mnist,
    write_tar,
)

GREY, COLOUR = images(30, 1), images(30, 2, channels=3, edge=32)
SHARED_CIFAR10 = "images/cifar10_full_jpeg.parquet"


def test_digits_are_those_of_scikit_learn() -> None:
    raw, bunch = Digits().read(), load_digits()
    assert np.array_equal(bunch.images[:, None], raw.splits["train"].x)
    assert np.array_equal(bunch.target, raw.splits["train"].y)
    assert (["train"], np.uint8, 10) == (list(raw.splits), raw.splits["train"].x.dtype, len(raw.classes))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_give_their_images_and_labels(tmp_path: Path, suffix: str) -> None:
    raw = Idx(str(write_mnist(tmp_path / "set", GREY[:20, 0], GREY[20:, 0], suffix))).read()
    assert np.array_equal(GREY[:20], raw.splits["train"].x)
    assert np.array_equal(GREY[20:], raw.splits["test"].x)
    assert np.array_equal(labels(20, 10), raw.splits["train"].y)
    assert ("mnist", tuple("0123456789")) == (raw.name, raw.classes)


def test_fashion_mnist_is_told_by_its_folder(tmp_path: Path) -> None:
    raw = Idx(str(write_mnist(tmp_path / "Fashion-MNIST", GREY[:20, 0], GREY[20:, 0]))).read()
    assert ("fashion-mnist", "Ankle boot") == (raw.name, raw.classes[9])


def test_the_real_fashion_mnist_is_read() -> None:
    folder = Path(os.environ.get("SPARK_NAS_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
    if not folder.is_dir():
        pytest.skip(
            f"no Fashion-MNIST in {folder}: set SPARK_NAS_FASHION_MNIST (Debian: package dataset-fashion-mnist)"
        )
    raw = Idx(str(folder)).read()
    assert {"train": (60_000, 1, 28, 28), "test": (10_000, 1, 28, 28)} == {k: v.x.shape for k, v in raw.splits.items()}
    assert [6000] * 10 == np.bincount(raw.splits["train"].y).tolist()


def test_cifar10_archive_gives_its_batches_in_order(tmp_path: Path) -> None:
    raw = CifarArchive(str(write_cifar10(tmp_path / "cifar-10-binary.tar.gz", COLOUR[:20], COLOUR[20:]))).read()
    assert np.array_equal(COLOUR[:20], raw.splits["train"].x)
    assert np.array_equal(COLOUR[20:], raw.splits["test"].x)
    assert np.array_equal(labels(20, 10), raw.splits["train"].y)
    assert ("cifar10", "airplane", "truck") == (raw.name, raw.classes[0], raw.classes[9])


def test_cifar100_archive_gives_its_fine_labels(tmp_path: Path) -> None:
    coarse = np.zeros(20, np.int64)
    members = {
        "train.bin": cifar_records(COLOUR[:20], coarse, labels(20, 20)),
        "test.bin": cifar_records(COLOUR[20:], coarse[:10], labels(10, 20)),
        "fine_label_names.txt": "\n".join(f"fine{i}" for i in range(20)).encode(),
        "coarse_label_names.txt": b"coarse",
    }
    raw = CifarArchive(
        str(write_tar(tmp_path / "a.tar.gz", {f"cifar-100-binary/{k}": v for k, v in members.items()}))
    ).read()
    assert ("cifar100", 20) == (raw.name, len(raw.classes))
    assert np.array_equal(labels(20, 20), raw.splits["train"].y)
    assert np.array_equal(COLOUR[:20], raw.splits["train"].x)


def test_class_folders_give_their_images_sorted(tmp_path: Path) -> None:
    raw = ImageFolder(str(write_image_folder(tmp_path / "birds", GREY, ["owl", "crow", "gull"]))).read()
    order = [*range(1, 30, 3), *range(2, 30, 3), *range(0, 30, 3)]
    assert ("crow", "gull", "owl") == raw.classes
    assert np.array_equal(GREY[order], raw.splits["train"].x)
    assert [0] * 10 + [1] * 10 + [2] * 10 == raw.splits["train"].y.tolist()


def test_split_folders_are_kept(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "train", COLOUR[:20], ["a", "b"])
    write_image_folder(tmp_path / "valid", COLOUR[20:24], ["a", "b"])
    write_image_folder(tmp_path / "test", COLOUR[24:], ["a", "b"])
    raw = ImageFolder(str(tmp_path)).read()
    assert {"train": 20, "valid": 4, "test": 6} == {split: len(arrays.y) for split, arrays in raw.splits.items()}
    assert np.array_equal(COLOUR[[24, 26, 28, 25, 27, 29]], raw.splits["test"].x)


def test_image_size_resizes_folders_of_mixed_sizes(tmp_path: Path) -> None:
    write_image_folder(tmp_path / "set", images(4, 1, 3, edge=10), ["a", "b"])
    write_image_folder(tmp_path / "set", images(4, 1, 3, edge=7), ["a", "b"], suffix=".bmp")
    assert (8, 3, 5, 5) == ImageFolder(str(tmp_path / "set"), image_size=5).read().splits["train"].x.shape


@pytest.mark.parametrize("grey", [0, 3], ids=["the first", "the last"])
def test_a_folder_with_one_grey_image_among_colour_keeps_its_colours(tmp_path: Path, grey: int) -> None:
    write_image_folder(tmp_path / "train", COLOUR[:4], ["a", "b"])
    write_image_folder(tmp_path / "test", images(4, 3, edge=32), ["a", "b"])  # a split that is grey altogether
    (tmp_path / "train" / "ab"[grey % 2] / f"{grey:04d}.png").write_bytes(png(images(1, 4, edge=32)[0]))
    splits = ImageFolder(str(tmp_path)).read().splits
    row, others = [0, 2, 1, 3].index(grey), [i for i in (0, 2, 1, 3) if i != grey]
    assert np.array_equal(COLOUR[others], np.delete(splits["train"].x, row, 0))
    assert np.array_equal(np.repeat(images(1, 4, edge=32)[0], 3, 0), splits["train"].x[row])
    assert (4, 3, 32, 32) == splits["test"].x.shape


@pytest.mark.parametrize("split", [["train"] * 3 + ["test"], ["test", "train", "train", "train"]])
def test_a_parquet_with_one_grey_image_among_colour_keeps_its_colours(tmp_path: Path, split: list[str]) -> None:
    pixels = [images(1, 4, edge=32)[0], *COLOUR[:3]]
    table = {"split": split, "label": [0, 1, 0, 1], "image": [png(image) for image in pixels]}
    pq.write_table(pa.table(table), tmp_path / "p.parquet")
    splits = EncodedParquet(str(tmp_path / "p.parquet")).read().splits
    rows = np.argsort([name != "train" for name in split], kind="stable")
    x = np.concatenate([splits["train"].x, splits["test"].x])
    assert all(np.array_equal(np.broadcast_to(pixels[row], (3, 32, 32)), x[i]) for i, row in enumerate(rows))


def test_parquet_of_png_gives_the_very_pixels(tmp_path: Path) -> None:
    table = pa.table(
        {
            "split": ["train"] * 20 + ["test"] * 10,
            "label": labels(30, 3),
            "name": [("cat", "dog", "elk")[i % 3] for i in range(30)],
            "image": [png(image) for image in COLOUR],
        }
    )
    pq.write_table(table, tmp_path / "animals.parquet")
    raw = EncodedParquet(str(tmp_path / "animals.parquet")).read()
    assert np.array_equal(COLOUR[:20], raw.splits["train"].x)
    assert np.array_equal(COLOUR[20:], raw.splits["test"].x)
    assert ("animals", ("cat", "dog", "elk")) == (raw.name, raw.classes)


def test_parquet_of_cifar10_jpeg_is_read(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    table = pq.read_table(shared_data(SHARED_CIFAR10))
    parts = [table.filter(pc.equal(table["split"], split)).slice(0, 60) for split in ("train", "test")]
    pq.write_table(pa.concat_tables(parts), tmp_path / "cifar10.parquet")
    raw = EncodedParquet(str(tmp_path / "cifar10.parquet")).read()
    assert {"train": (60, 3, 32, 32), "test": (60, 3, 32, 32)} == {k: v.x.shape for k, v in raw.splits.items()}
    assert parts[0]["label"].to_pylist() == raw.splits["train"].y.tolist()
    assert ("airplane", "automobile", "bird", "cat", "deer") == raw.classes[:5]


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        (np.zeros((6, 3, 8, 8), np.uint8), (6, 3, 8, 8)),
        (np.zeros((6, 8, 8, 3), np.uint8), (6, 3, 8, 8)),
        (np.zeros((6, 8, 8), np.uint8), (6, 1, 8, 8)),
        (np.zeros((6, 2, 50), np.float32), (6, 2, 50)),
        (np.zeros((6, 7), np.int16), (6, 7)),
    ],
)
def test_npz_examples_are_channels_first(tmp_path: Path, stored: np.ndarray, read: tuple[int, ...]) -> None:
    np.savez(tmp_path / "a.npz", x=stored, y=labels(6, 2))
    x = Npz(str(tmp_path / "a.npz")).read().splits["train"].x
    assert (read, stored.dtype) == (x.shape, x.dtype)


def test_npz_keeps_its_splits_classes_and_values(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(30, 4))
    parts = {"x_train": x[:20], "y_train": labels(20, 2)[:, None], "x_test": x[20:], "y_test": labels(10, 2)}
    np.savez_compressed(tmp_path / "a.npz", classes=np.array(["no", "yes"]), **parts)
    raw = Npz(str(tmp_path / "a.npz")).read()
    assert (["train", "test"], ("no", "yes")) == (list(raw.splits), raw.classes)
    assert np.array_equal(x[20:].astype(np.float32), raw.splits["test"].x)


def test_npz_class_names_in_bytes_are_utf8(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((6, 4)), y=labels(6, 2), classes=np.array(["né".encode(), b"b"]))
    assert ("né", "b") == Npz(str(tmp_path / "a.npz")).read().classes


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint64])
def test_npz_labels_of_any_integer_type_are_kept(tmp_path: Path, kind: type[np.integer]) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((6, 4)), y=labels(6, 2).astype(kind))
    assert labels(6, 2).tolist() == Npz(str(tmp_path / "a.npz")).read().splits["train"].y.tolist()


def test_npz_members_of_other_names_are_let_be(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((6, 4)), y=labels(6, 2), weights=np.array(["heavy"]))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("README.txt", b"how it was made")
    raw = Npz(str(tmp_path / "a.npz")).read()
    assert (["train"], ("0", "1")) == (list(raw.splits), raw.classes)


def test_an_npz_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (marker,)  # type: ignore[return-value]

    np.savez(tmp_path / "evil.npz", x=np.array([Evil(), Evil()], object), y=labels(2, 2), allow_pickle=True)
    with pytest.raises(DataError, match=r"evil.npz: not a readable .npz of plain arrays"):
        Npz(str(tmp_path / "evil.npz")).read()
    assert not marker.exists()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda at: "digits", Digits),
        (lambda at: write_mnist(at / "m", GREY[:20, 0], GREY[20:, 0], ".gz"), Idx),
        (lambda at: write_image_folder(at / "birds", GREY[:4], ["a", "b"]), ImageFolder),
        (lambda at: write_tar(at / "c.tgz", {}), CifarArchive),
        (lambda at: (at / "p.parquet", (at / "p.parquet").touch())[0], EncodedParquet),
        (lambda at: (at / "p.npz", (at / "p.npz").touch())[0], Npz),
    ],
)
def test_a_source_is_told_by_its_name_and_content(
    tmp_path: Path, make: Callable[[Path], object], kind: type[Source]
) -> None:
    assert kind is type(open_source(str(make(tmp_path))))
