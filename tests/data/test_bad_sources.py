from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from spark_nas.data.sources import open_source
from spark_nas.data.sources.base import check_size, class_count
from spark_nas.errors import DataError
from tests.data.source_files import (
    images,
    labels,
    png,
    write_cifar10,
    write_idx,
    write_image_folder,
    write_mnist,
    write_tar,
)

GREY, COLOUR = images(30, 1), images(30, 2, channels=3, edge=32)


def npz(at: Path, **arrays: object) -> Path:
    np.savez(at / "a.npz", **arrays)  # type: ignore[arg-type]
    return at / "a.npz"


def npz_with_raw(at: Path, name: str, **arrays: object) -> Path:
    """One with a member of that name that is no .npy."""
    with zipfile.ZipFile(npz(at, **arrays), "a") as archive:
        archive.writestr(name, b"a\nb")
    return at / "a.npz"


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def damaged(path: Path, keep: int) -> Path:
    """The first bytes of a file."""
    return written(path, path.read_bytes()[:keep])


def without(folder: Path, name: str) -> Path:
    (folder / name).unlink()
    return folder


def with_file(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder


def mnist(at: Path) -> Path:
    return write_mnist(at / "m", GREY[:20, 0], GREY[20:, 0])


def mnist_with(at: Path, name: str, values: np.ndarray) -> Path:
    write_idx(mnist(at) / name, values)
    return at / "m"


def folder(at: Path) -> Path:
    return write_image_folder(at / "set", GREY[:8], ["a", "b"])


def cifar(at: Path) -> Path:
    return write_cifar10(at / "c.tar.gz", COLOUR[:20], COLOUR[20:])


def parquet(at: Path, **columns: object) -> Path:
    good = {"split": ["train"] * 6, "label": labels(6, 2), "image": [png(image) for image in GREY[:6]]}
    pq.write_table(pa.table({k: v for k, v in {**good, **columns}.items() if v is not None}), at / "p.parquet")
    return at / "p.parquet"


def bitmap(values: np.ndarray, suffix: str) -> bytes:
    """Grey values of some type as a file of that kind."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, suffix)
    return buffer.getvalue()


DEEP = np.array([[1000, 40000], [0, 65535]], np.uint16)
X, Y = np.zeros((6, 4), np.float32), labels(6, 2)
BAD: list[tuple[Callable[[Path], Path], str]] = [
    (lambda at: at / "nowhere", "nowhere: no such file or folder; give digits"),
    (lambda at: written(at / "a.csv", b"1,2"), "a.csv: unknown kind of source; give digits"),
    (lambda at: without(mnist(at), "t10k-images-idx3-ubyte"), "no file t10k-images-idx3-ubyte or t10k-images-idx3"),
    (lambda at: damaged(mnist(at) / "train-images-idx3-ubyte", 99).parent, "holds 83 bytes of values, its header says"),
    (lambda at: damaged(mnist(at) / "train-labels-idx1-ubyte", 3).parent, "train-labels-idx1-ubyte: not an idx file"),
    (
        lambda at: (
            damaged(write_mnist(at, GREY[:20, 0], GREY[20:, 0], ".gz") / "train-images-idx3-ubyte.gz", 99).parent
        ),
        "cannot be read",
    ),
    (lambda at: mnist_with(at, "train-labels-idx1-ubyte", np.zeros(7, np.uint8)), "20 examples but 7 labels"),
    (lambda at: mnist_with(at, "train-images-idx3-ubyte", np.zeros(20, np.uint8)), "1 dimensions, and 1"),
    (lambda at: written(at / "a.tar.gz", b"\x1f\x8bgarbage"), "a.tar.gz: damaged archive"),
    (lambda at: damaged(cifar(at), 20_000), "c.tar.gz: damaged archive"),
    (lambda at: write_tar(at / "a.tar", {"x/readme.txt": b""}), "no member data_batch_1.bin: expected cifar-10-binary"),
    (lambda at: write_tar(at / "a.tar", {f"x/data_batch_{i}.bin": b"12" for i in range(1, 6)}), "no multiple of 3073"),
    (lambda at: write_image_folder(at / "one", GREY[:4], ["a"]), "one: 1 class folder; expected at least 2"),
    (lambda at: with_file(folder(at), "a/0000.png", b"not an image"), "a/0000.png: not a readable image"),
    (
        lambda at: with_file(folder(at), "b/9.png", png(images(1, 1, edge=9)[0])),
        "b/9.png: image of .* give --image-size",
    ),
    (
        lambda at: with_file(folder(at), "b/9.png", bitmap(DEEP, "PNG")),
        r"b/9.png: its values have more than 8 bits \(mode I.*\); convert the images to 8 bits, or give .* as a .npz",
    ),
    (lambda at: with_file(folder(at), "a/9.tif", bitmap(DEEP.astype(np.int32), "TIFF")), r"9.tif: .* 8 bits \(mode I"),
    (lambda at: with_file(folder(at), "a/9.tif", bitmap(DEEP / np.float32(7), "TIFF")), r"9.tif: .* 8 bits \(mode F"),
    (lambda at: with_file(folder(at), "c/notes.txt", b""), "set/c: no images in the folder of this class"),
    (lambda at: write_image_folder(folder(at) / "test", GREY[:4], ["a"]).parent, "has test but no train folder"),
    (
        lambda at: (
            write_image_folder(
                write_image_folder(at / "s/train", GREY, ["a", "b"]).parent / "test", GREY, ["a", "z"]
            ).parent
        ),
        "its classes are not those of train",
    ),
    (lambda at: written(at / "p.parquet", b"PAR1garbage"), "p.parquet: not readable Parquet"),
    (lambda at: parquet(at, image=None), "p.parquet: no column image; expected split, label, image"),
    (lambda at: parquet(at, label=[0, 1, 0, 1, 0, None]), "p.parquet: holds nulls"),
    (lambda at: parquet(at, label=["x"] * 6), "label must be integers and image bytes, not string, binary"),
    (lambda at: parquet(at, split=["train"] * 5 + ["dev"]), "unknown split 'dev'; expected train, valid, test"),
    (lambda at: parquet(at, split=["test"] * 6), "has splits test; expected train"),
    (lambda at: parquet(at, image=[png(GREY[0])] * 5 + [b"oops"]), "p.parquet: row 5: not a readable image"),
    (lambda at: parquet(at, image=[png(DEEP[None])] * 6), "p.parquet: row 0: its values have more than 8 bits"),
    (
        lambda at: parquet(at, label=[0, 1, 0, 2**31, 0, 1]),
        r"p.parquet: label 2147483648 in row 3; number the classes 0, 1, 2, ... \(below 10000\)",
    ),
    (lambda at: parquet(at, name=["a", "b", "a", "b", "a", "a"]), "a label has several names"),
    (lambda at: parquet(at, label=[-1, 0, 1, 0, 1, 0]), "labels -1..1; expected 0..1"),
    (lambda at: written(at / "a.npz", b"PK garbage"), "a.npz: not a readable .npz of plain arrays"),
    (lambda at: npz(at, z=X), "a.npz: holds z; expected x_train and y_train, or x and y"),
    (lambda at: npz(at, x_train=X), "only one of x_train and y_train is there"),
    (lambda at: npz(at, x=X, y=Y.astype(float)), "a.npz: y is float64 of shape .*; expected integers"),
    (lambda at: npz(at, x=X[:, 0], y=Y), r"a.npz: x has shape \(6,\); expected \[rows, ...\]"),
    (lambda at: npz(at, x=X, y=Y[:4]), "6 examples but 4 labels"),
    (lambda at: npz(at, x=X[:0], y=Y[:0]), "'train' is empty"),
    (lambda at: npz(at, x=X, y=Y * 0), "training examples of 1 class; at least 2 classes are needed"),
    (
        lambda at: npz(at, x_train=X, y_train=Y, x_test=X[:2], y_test=np.array([1, 2**40])),
        "a.npz: y_test: label 1099511627776 in row 1; number the classes",
    ),
    (lambda at: npz(at, x=X + np.nan, y=Y), "holds NaN or infinity; clean it first"),
    (lambda at: npz(at, x=X.astype(complex), y=Y), "is of type complex128; convert it to one of uint8"),
    (lambda at: npz(at, x_train=X, y_train=Y, x_test=X[:, :3], y_test=Y), "they must agree"),
    (
        lambda at: npz(at, x=np.array([["abc", "b"]] * 6), y=Y),
        r"a.npz: x is <U3 of shape \(6, 2\), not numbers; convert it to one of uint8, ",
    ),
    (
        lambda at: npz(at, x_train=X, y_train=Y, x_test=X.astype("S3"), y_test=Y),
        r"a.npz: x_test is \|S3 of shape \(6, 4\), not numbers; convert it",
    ),
    (lambda at: npz(at, x=X.view("V4"), y=Y), r"a.npz: x is \|V4 of shape \(6, 4\), not numbers; convert it"),
    (lambda at: npz(at, x=X.astype("M8[s]"), y=Y), r"a.npz: x is datetime64\[s\] of shape .*, not numbers; convert it"),
    (lambda at: npz_with_raw(at, "x", y=Y), "a.npz: x is 3 raw bytes, not an array; write the file with numpy.savez"),
    (lambda at: npz_with_raw(at, "y", x=X), "a.npz: y is 3 raw bytes, not an array; write the file"),
    (lambda at: npz_with_raw(at, "classes", x=X, y=Y), "a.npz: classes is 3 raw bytes, not an array; write the file"),
    (
        lambda at: npz(at, x=X, y=Y, x_train=X, y_train=Y),
        "a.npz: holds x and y as well as x_train and y_train; leave one pair out",
    ),
    (
        lambda at: npz(at, x=X, y=Y, x_train=X),
        "a.npz: holds x and y as well as x_train; leave one pair out: either x and y, or x_train and y_train",
    ),
    (
        lambda at: npz(at, x=X, y=np.array([0, 1, 0, 2**63, 0, 1], np.uint64)),
        "a.npz: y: label 9223372036854775808 in row 3; number the classes 0, 1, 2",
    ),
    (
        lambda at: npz(at, x=X, y=np.array([0, 2**64 - 1, 0, 1, 0, 1], np.uint64), classes=np.array(["a", "b"])),
        "a.npz: y: label 18446744073709551615 in row 1; number the classes 0, 1, 2",
    ),
    (
        lambda at: npz(at, x=X, y=Y, classes=np.array([b"caf\xe9", b"b"])),
        r"a.npz: classes holds b'caf\\xe9', which is not UTF-8; store the names as strings",
    ),
    (
        lambda at: npz(at, x=X, y=Y, classes=np.array("abc")),
        r"a.npz: classes is 'abc' \(<U3 of shape \(\)\); expected one string for each class",
    ),
    (
        lambda at: npz(at, x=X, y=Y, classes=np.array([["a"], ["b"]])),
        r"a.npz: classes is .* \(<U1 of shape \(2, 1\)\); expected one string for each class",
    ),
    (
        lambda at: npz(at, x=X, y=Y, classes=np.array(["a", "c", "a", "b", "c"])),
        "a.npz: classes holds 'a', 'c' more than once; give each class a name of its own",
    ),
    (lambda at: npz(at, x=X, y=Y, classes=np.array(["only"])), "labels 0..1; expected 0..0"),
]


@pytest.mark.parametrize(("make", "said"), BAD, ids=[said[:40] for _, said in BAD])
def test_an_unusable_source_is_refused_in_one_line(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    path = make(tmp_path)
    with pytest.raises(DataError, match=said) as caught:
        open_source(str(path)).read()
    assert 1 == len(str(caught.value).splitlines())


def test_an_image_size_below_one_is_refused() -> None:
    with pytest.raises(DataError, match=r"image size 0: must be at least 1 pixel"):
        open_source("digits", image_size=0)


@pytest.mark.parametrize(
    "make",
    [lambda at: "digits", mnist, cifar, lambda at: npz(at, x=X, y=Y)],
    ids=["digits", "idx", "cifar archive", "npz"],
)
def test_an_image_size_is_refused_where_nothing_is_resized(tmp_path: Path, make: Callable[[Path], object]) -> None:
    with pytest.raises(
        DataError, match=r"image size 8: only a folder or a .parquet of images is resized; leave it out"
    ):
        open_source(str(make(tmp_path)), image_size=8)


def test_a_part_of_a_set_may_keep_the_labels_of_the_whole() -> None:
    assert 10_000 == class_count({"few": np.array([0, 9_999])})
    assert 20_000 == class_count({"many": np.arange(20_000), "few": np.array([19_999])})
    with pytest.raises(DataError, match=r"^few: label 20002 in row 1; number .* \(below 20002\)$"):
        class_count({"many": np.arange(20_000), "few": np.array([0, 20_002])})


def test_a_source_that_would_not_fit_into_memory_is_refused() -> None:
    check_size("here", 8, 1 << 30)
    with pytest.raises(DataError, match=r"^here: 9.0 GiB decoded is more than the 8.0 GiB that prepare-data holds"):
        check_size("here", 9, 1 << 30)


def test_an_idx_header_that_claims_too_much_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (mnist(tmp_path) / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\xff\xff\xff\xff" * 3)
    with pytest.raises(DataError, match=r"GiB decoded is more than"):
        open_source(str(tmp_path / "m")).read()
