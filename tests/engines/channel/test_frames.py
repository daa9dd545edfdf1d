"""Frames: what goes in comes out, whatever the pieces; nothing forged, long or odd gets through."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.engines.channel.frames import MAX_PAYLOAD, SEAL_BYTES, ChannelError, FrameBuffer, Message, Sealed, framed

A, B = b"a" * 32, b"b" * 32
MESSAGES = st.dictionaries(st.text(max_size=8), st.integers() | st.text() | st.lists(st.booleans()), max_size=4)


def pair() -> tuple[Sealed, Sealed]:
    """Both ends of a connection."""
    return Sealed(FrameBuffer(0), A, B), Sealed(FrameBuffer(0), B, A)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in pieces of these sizes, the rest in one."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(messages=st.lists(MESSAGES, max_size=5), sizes=st.lists(st.integers(0, 90), max_size=12))
def test_messages_come_out_as_they_went_in_whatever_the_pieces(messages: list[Message], sizes: list[int]):
    here, there = pair()
    stream = b"".join(map(here.pack, messages))
    assert messages == [message for piece in cut(stream, sizes) for message in there.unpack(piece)]


@given(data=st.binary(max_size=300), sizes=st.lists(st.integers(0, 40), max_size=8))
def test_no_bytes_get_through_without_the_key(data: bytes, sizes: list[int]):
    _, there = pair()
    with_nothing: list[Message] = []
    try:
        for piece in cut(data, sizes):
            with_nothing += there.unpack(piece)
    except ChannelError:
        pass
    assert [] == with_nothing


@given(message=MESSAGES, data=st.data())
def test_a_frame_with_one_bit_changed_is_refused(message: Message, data: st.DataObject):
    here, there = pair()
    frame = bytearray(here.pack(message))
    place = data.draw(st.integers(4 * 8, len(frame) * 8 - 1))
    frame[place // 8] ^= 1 << (place % 8)
    with pytest.raises(ChannelError, match="seal"):
        list(there.unpack(bytes(frame)))


def test_a_frame_repeated_left_out_or_turned_back_is_refused():
    here, there = pair()
    first, second = here.pack({"n": 1}), here.pack({"n": 2})
    assert [{"n": 1}] == list(there.unpack(first))
    with pytest.raises(ChannelError, match="seal"):
        list(there.unpack(first))
    with pytest.raises(ChannelError, match="seal"):
        list(pair()[1].unpack(second))
    with pytest.raises(ChannelError, match="seal"):
        list(here.unpack(first))


@pytest.mark.parametrize("length", [MAX_PAYLOAD + 1, 2**31, 2**32 - 1])
def test_a_giant_frame_is_refused_by_its_length_alone(length: int):
    _, there = pair()
    with pytest.raises(ChannelError, match=f"a frame of {length} bytes is more than"):
        list(there.unpack(length.to_bytes(4, "big")))


def test_a_message_too_long_is_refused_before_it_is_sent_and_the_next_one_goes_out():
    here, there = pair()
    with pytest.raises(ChannelError, match="more than the"):
        here.pack({"text": "x" * MAX_PAYLOAD})
    assert [{"n": 1}] == list(there.unpack(here.pack({"n": 1})))


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"1", b"{", b"\xff", b"[" * 200_000],
    ids=["empty", "list", "number", "half", "no text", "deep"],
)
def test_what_is_sealed_but_no_json_object_is_refused(body: bytes):
    _, there = pair()
    seal = hmac.digest(A, (0).to_bytes(8, "big") + body, "sha256")
    assert len(seal) == SEAL_BYTES
    with pytest.raises(ChannelError, match="not"):
        list(there.unpack(framed(seal + body)))
