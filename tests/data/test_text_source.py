"""Texts of every kind that `prepare-data text` takes become the streams of tokens that their lines say."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.data.sources import Text
from spark_nas.data.sources import text as module
from spark_nas.data.sources.text import RawText
from spark_nas.errors import DataError

TEXTS = {"train": "the cat sat\n the  dog\n", "valid": "a cat\n", "test": "the end"}
WORDS = {
    "train": ["the", "cat", "sat", "<eos>", "the", "dog", "<eos>"],
    "valid": ["a", "cat", "<eos>"],
    "test": ["the", "end", "<eos>"],
}


def spelt(raw: RawText) -> dict[str, list[str]]:
    """The tokens of each split as texts."""
    return {split: [raw.kinds[number] for number in stream] for split, stream in raw.splits.items()}


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def three(at: Path) -> list[Path]:
    return [written(at / f"tiny.{split}.txt", text) for split, text in TEXTS.items()]


def zipped(path: Path, members: dict[str, str], how: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def folder(at: Path) -> list[Path]:
    written(at / "tiny" / "README.md", "not of the text")
    written(at / "tiny" / ".train.txt.swp", "hidden")
    (at / "tiny" / "train").mkdir()
    return [*[written(at / "tiny" / f"{split}.txt", text) for split, text in TEXTS.items()], at / "tiny"][-1:]


def archive(at: Path) -> list[Path]:
    members = {"README": "not of the text", "data/": "", "__MACOSX/data/._tiny.train.txt": "\0"}
    members |= {f"data/tiny.{split}.txt": text for split, text in TEXTS.items()}
    return [zipped(at / "tiny.zip", members, zipfile.ZIP_LZMA)]


def packed(at: Path) -> list[Path]:
    return [
        written(at / "tiny-train.txt.gz", gzip.compress(TEXTS["train"].encode())),
        written(at / "tiny-valid.txt.xz", lzma.compress(TEXTS["valid"].encode())),
        written(at / "tiny-test.txt.bz2", bz2.compress(TEXTS["test"].encode())),
    ]


@pytest.mark.parametrize("make", [three, folder, archive, packed])
def test_the_files_of_the_splits_are_told_by_their_names(tmp_path: Path, make: Callable[[Path], list[Path]]) -> None:
    paths = make(tmp_path)
    for order in (paths, paths[::-1]):
        raw = Text(tuple(map(str, order))).read()
        assert WORDS == spelt(raw)
        assert str(tmp_path) not in raw.description
    assert "tiny" == raw.name


@pytest.mark.parametrize("name", ["text8", "novel.txt", "novel.test.txt.gz", "novel.zip"])
def test_one_text_is_the_training_text_whatever_its_name(tmp_path: Path, name: str) -> None:
    content = gzip.compress(TEXTS["train"].encode()) if name.endswith(".gz") else TEXTS["train"]
    path = zipped(tmp_path / name, {"book.txt": TEXTS["train"]}) if name.endswith(".zip") else tmp_path / name
    if not path.exists():
        written(path, content)
    raw = Text((str(path),)).read()
    assert {"train": WORDS["train"]} == spelt(raw)
    assert name.partition(".")[0] == raw.name


def test_the_training_tokens_are_numbered_first_in_the_order_they_come(tmp_path: Path) -> None:
    raw = Text(tuple(map(str, three(tmp_path)[::-1]))).read()
    assert ("the", "cat", "sat", "<eos>", "dog", "a", "end") == raw.kinds


def test_every_line_ends_a_sentence_and_so_does_a_last_one_that_is_not_ended(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", "one\r\n\n \ntwo three")
    assert ["one", "<eos>", "<eos>", "<eos>", "two", "three", "<eos>"] == spelt(Text((str(path),)).read())["train"]


def test_a_byte_order_mark_is_no_part_of_the_first_token(tmp_path: Path) -> None:
    path = written(tmp_path / "a.txt", b"\xef\xbb\xbfone \xef\xbb\xbftwo")
    assert ["one", "\ufefftwo", "<eos>"] == spelt(Text((str(path),)).read())["train"]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: not text.startswith("\ufeff")))
def test_the_characters_of_a_text_spell_it(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = written(tmp_path_factory.getbasetemp() / "characters.txt", text)
    raw = Text((str(path),), level="character").read()
    assert text.replace("\r\n", "\n") == "".join(spelt(raw)["train"])


@given(st.lists(st.lists(st.text("ab<>é", min_size=1), max_size=4), min_size=1, max_size=5))
def test_words_are_those_of_the_published_recipe(
    tmp_path_factory: pytest.TempPathFactory, lines: list[list[str]]
) -> None:
    """`text.replace("\\n", "<eos>").split()`, as Mikolov's files are read, which have spaces around each line."""
    text = "".join(f" {' '.join(line)} \n" for line in lines)
    path = written(tmp_path_factory.getbasetemp() / "words.txt", text)
    assert text.replace("\n", "<eos>").split() == spelt(Text((str(path),)).read())["train"]


BAD: list[tuple[Callable[[Path], list[Path]], str]] = [
    (lambda at: [], "text: no file named; give one text, three with train, valid, test in their names, or a .zip"),
    (lambda at: [at / "nowhere.txt"], "nowhere.txt: no such file or folder; give the text to prepare"),
    (lambda at: [written(at / "a.txt", "")], "a.txt: is empty; give a file that holds text"),
    (lambda at: [*three(at)[:2], written(at / "test", "")], "test: is empty; give a file that holds text"),
    (
        lambda at: [written(at / "a.txt", b"fine\nt\xff\n")],
        r"a.txt: line 2 is not UTF-8 \(invalid start byte\); convert",
    ),
    (lambda at: [written(at / "a.txt", "wide".encode("utf-16"))], "a.txt: line 1 is not UTF-8"),
    (
        lambda at: [written(at / "a.gz", "not packed")],
        r"a.gz: cannot be read \(Not a gzipped file.*\); mend or unpack it",
    ),
    (lambda at: [written(at / "a.gz", gzip.compress(b"x" * 99)[:-9])], "a.gz: cannot be read"),
    (lambda at: [written(at / "a.xz", "not packed")], "a.xz: cannot be read"),
    (lambda at: [written(at / "a.bz2", "not packed")], "a.bz2: cannot be read"),
    (lambda at: [written(at / "a.zip", "not packed")], r"a.zip: not a readable .zip \(.*\); mend it or give the files"),
    (lambda at: [damaged(zipped(at / "a.zip", {"b.txt": "x " * 999}))], "a.zip: b.txt: cannot be read"),
    (
        lambda at: [zipped(at / "a.zip", {"a": "x", "b": "y"})],
        "a.zip: holds no text; give one file, or files with train",
    ),
    (lambda at: [written(at / "d" / ".hidden", "x").parent], "d: holds no text; give one file"),
    (
        lambda at: [*three(at), written(at / "more.txt", "")],
        "more.txt: of several files each must have train, valid or t",
    ),
    (
        lambda at: [*three(at), written(at / "train_test", "")],
        "train_test: of several files each must have .* only one",
    ),
    (lambda at: [*three(at), written(at / "train", "")], "train: is a second 'train' beside tiny.train.txt; give one"),
    (lambda at: three(at)[1:], "tiny.valid.txt: no file beside it has train in its name; give the training text too"),
]


def damaged(path: Path) -> Path:
    """A member's bytes flipped."""
    content = bytearray(path.read_bytes())
    content[40] ^= 0xFF
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("make", "said"), BAD, ids=[said[:40] for _, said in BAD])
def test_an_unusable_text_is_refused_in_one_line(tmp_path: Path, make: Callable[[Path], list[Path]], said: str) -> None:
    paths = tuple(map(str, make(tmp_path)))
    with pytest.raises(DataError, match=said) as caught:
        Text(paths).read()
    assert 1 == len(str(caught.value).splitlines())


def test_an_unknown_level_names_the_known() -> None:
    with pytest.raises(DataError, match="level 'byte': give one of word, character"):
        Text(("a.txt",), level="byte")


def test_more_text_than_fits_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.xz", lzma.compress(b"ab\n" * 2 + b"x" * 10_000))
    monkeypatch.setattr(module, "_MAX_TEXT", 10_006)
    assert 6 == len(Text((str(path),)).read().splits["train"])
    monkeypatch.setattr(module, "_MAX_TEXT", 10_005)
    with pytest.raises(DataError, match=r"a.xz: more than 10,005 bytes of text; give a part of it"):
        Text((str(path),)).read()
