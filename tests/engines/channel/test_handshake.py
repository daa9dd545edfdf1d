"""The handshake: only who knows the key gets in, on either side, whatever else is said."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.engines.channel.frames import ChannelError, Sealed, framed
from spark_nas.engines.channel.handshake import ClientHandshake, ServerHandshake
from tests.engines.channel.test_frames import cut
from tests.engines.channel.wires import KEY


def shake(server: ServerHandshake, client: ClientHandshake) -> tuple[Sealed, Sealed]:
    """Carry the messages to and fro; both ends of the connection."""
    step = server.step(client.step(server.greeting))
    assert step is not None
    assert b"" == client.step(step[0])
    assert client.opened is not None
    return step[1], client.opened


def test_who_knows_the_key_gets_a_connection_for_both_directions():
    there, here = shake(ServerHandshake(KEY), ClientHandshake(KEY))
    assert [{"n": 1}] == list(there.unpack(here.pack({"n": 1})))
    assert [{"n": 2}] == list(here.unpack(there.pack({"n": 2})))


@given(sizes=st.lists(st.integers(1, 30), max_size=6))
def test_the_pieces_in_which_bytes_come_do_not_matter(sizes: list[int]):
    server, client = ServerHandshake(KEY), ClientHandshake(KEY)
    proof = b"".join(client.step(piece) for piece in cut(server.greeting, sizes))
    steps = [step for piece in cut(proof, sizes) if (step := server.step(piece)) is not None]
    assert len(steps) == 1
    for piece in cut(steps[0][0], sizes):
        client.step(piece)
    assert client.opened is not None


@given(wrong=st.binary(min_size=32, max_size=32).filter(lambda key: key != KEY))
def test_a_wrong_key_opens_nothing_on_either_side(wrong: bytes):
    server = ServerHandshake(KEY)
    with pytest.raises(ChannelError, match="client does not know"):
        server.step(ClientHandshake(wrong).step(server.greeting))
    impostor, client = ServerHandshake(wrong), ClientHandshake(KEY)
    client.step(impostor.greeting)
    with pytest.raises(ChannelError, match="server does not know"):
        client.step(framed(b"x" * 32))
    assert client.opened is None


@given(data=st.binary(max_size=400))
def test_no_bytes_are_a_proof(data: bytes):
    server, client = ServerHandshake(KEY), ClientHandshake(KEY)
    client.step(server.greeting)
    opened = None
    with contextlib.suppress(ChannelError):
        opened = server.step(data)
    with contextlib.suppress(ChannelError):
        client.step(data)
    assert (opened, client.opened) == (None, None)


def test_a_recorded_handshake_opens_no_other_connection():
    server, client = ServerHandshake(KEY), ClientHandshake(KEY)
    recorded = client.step(server.greeting)
    assert server.step(recorded) is not None
    with pytest.raises(ChannelError, match="client does not know"):
        ServerHandshake(KEY).step(recorded)


def test_a_challenge_or_a_proof_sent_back_to_its_maker_proves_nothing():
    server, client = ServerHandshake(KEY), ClientHandshake(KEY)
    # To the server: its own challenge as the client's, and the proof that another server makes of it.
    relayed = server.greeting[4:]
    other = ServerHandshake(KEY, random=lambda n: relayed)
    step = other.step(ClientHandshake(KEY, random=lambda n: relayed).step(other.greeting))
    assert step is not None
    with pytest.raises(ChannelError, match="client does not know"):
        server.step(framed(relayed + step[0][4:]))
    # To the client: its own challenge, and its own proof.
    answer = client.step(ServerHandshake(KEY).greeting)[4:]
    for reflected in (answer[:32], answer[32:]):
        victim = ClientHandshake(KEY, random=lambda n: answer[:32])
        victim.step(framed(reflected))
        with pytest.raises(ChannelError, match="server does not know"):
            victim.step(framed(answer[32:]))


@pytest.mark.parametrize("length", [0, 31, 33, 63, 65, 256])
def test_a_handshake_of_another_length_is_refused(length: int):
    with pytest.raises(ChannelError):
        ServerHandshake(KEY).step(framed(b"x" * length))
    if length != 32:
        with pytest.raises(ChannelError):
            ClientHandshake(KEY).step(framed(b"x" * length))


def test_before_the_proof_a_frame_of_257_bytes_is_one_too_many():
    with pytest.raises(ChannelError, match="a frame of 257 bytes is more than the 256"):
        ServerHandshake(KEY).step((257).to_bytes(4, "big"))


def test_two_connections_never_share_their_keys():
    first, second = (shake(ServerHandshake(KEY), ClientHandshake(KEY))[1].pack({}) for _ in range(2))
    assert first != second
