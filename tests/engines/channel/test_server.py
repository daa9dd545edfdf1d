"""The driver's end, over real sockets: strangers cost little and get nothing, and who belongs here always gets in."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas.engines.channel.frames import framed
from spark_nas.engines.channel.handshake import ClientHandshake
from spark_nas.engines.channel.server import Server
from tests.engines.channel.wires import KEY, Recorder, Wire, connected, ended, serving


def test_a_client_with_the_key_is_heard_and_answered():
    with serving() as (server, handler), connected(server) as connection:
        wire = Wire(connection)
        wire.send({"n": 1})
        wire.send({"n": 2})
        assert [{"echo": {"n": 1}}, {"echo": {"n": 2}}] == wire.messages(2)
        connection.close()
        events = [handler.next() for _ in range(4)]
    assert [("opened",), ("received", {"n": 1}), ("received", {"n": 2})] == events[:3]
    assert events[3][0] == "closed"


def test_a_wrong_key_is_dropped_and_the_handler_never_hears_of_it():
    with serving() as (server, handler):
        with connected(server) as connection, pytest.raises(ConnectionResetError):
            Wire(connection, key=b"w" * 32)
        assert handler.events.empty()


def test_a_replayed_handshake_is_dropped():
    with serving() as (server, handler):
        with connected(server) as connection:
            recorded = Wire(connection).said[0]
        with connected(server) as connection:
            connection.sendall(recorded)
            assert ended(connection)
        assert [("opened",), "closed"] == [handler.next(), handler.next()[0]]
        assert handler.events.empty()


def test_a_frame_may_be_longer_than_one_read_in_both_directions():
    with serving() as (server, _), connected(server) as connection:
        wire = Wire(connection)
        message = {"text": "x" * 3_000_000}
        sender = threading.Thread(target=wire.send, args=[message])
        sender.start()
        assert [{"echo": message}] == wire.messages(1)
        sender.join()


@pytest.mark.parametrize("length", [2**32 - 1, 257])
def test_a_giant_frame_of_a_stranger_is_dropped_at_its_length(length: int):
    with serving() as (server, _), connected(server) as connection:
        connection.sendall(length.to_bytes(4, "big"))
        assert ended(connection)


def test_a_giant_frame_of_a_client_with_the_key_ends_its_connection_and_no_other():
    with serving() as (server, _), connected(server) as one, connected(server) as two:
        wire, other = Wire(one), Wire(two)
        one.sendall((2**31).to_bytes(4, "big"))
        assert ended(one)
        other.send({"n": 1})
        assert [{"echo": {"n": 1}}] == other.messages(1)
        assert wire.sealed is not None


def test_a_thousand_idle_connections_hold_a_bounded_number_of_places_and_a_worker_still_gets_in():
    with serving(max_unproved=16, handshake_seconds=60) as (server, _), ExitStack() as stack:
        idle = [stack.enter_context(connected(server)) for _ in range(250)]
        for _ in range(3):
            for connection in idle:
                connection.close()
            idle = [stack.enter_context(connected(server)) for _ in range(250)]
        worker = Wire(stack.enter_context(connected(server)))
        worker.send({"n": 1})
        assert [{"echo": {"n": 1}}] == worker.messages(1)
        open_still = 0
        for connection in idle:
            connection.settimeout(0.02)
            open_still += not ended(connection)
        assert open_still <= 16


@pytest.mark.slow
def test_a_server_without_a_file_descriptor_left_waits_for_one_without_spinning():
    program = Path(__file__).with_name("crowded_server.py")
    environment = {**os.environ, "PYTHONPATH": str(program.parents[3])}
    done = subprocess.run(
        [sys.executable, str(program)], check=True, env=environment, capture_output=True, text=True, timeout=60
    )
    (_, complaints, _, seconds), (last,) = (line.split() for line in done.stdout.splitlines())
    assert 1 <= int(complaints) <= 3
    assert float(seconds) < 0.5
    assert last == "RECOVERED"


def test_a_slow_loris_is_dropped_although_it_keeps_sending():
    with serving(handshake_seconds=0.3) as (server, handler), connected(server) as connection:
        connection.settimeout(0.05)
        proof = ClientHandshake(KEY).step(connection.recv(4096))
        dropped = False
        for byte in proof:
            with contextlib.suppress(TimeoutError):
                try:
                    connection.sendall(bytes([byte]))
                    dropped = connection.recv(4096) == b""
                except OSError as error:
                    if isinstance(error, TimeoutError):
                        raise
                    dropped = True
            if dropped:
                break
        assert dropped
        assert handler.events.empty()


def test_one_client_that_does_not_read_holds_up_no_other():
    with serving() as (server, handler), connected(server) as one, connected(server) as two:
        deaf, wire = Wire(one), Wire(two)
        peer = handler.peers[0]
        server.call(lambda: [peer.send({"text": "x" * 1_000_000}) for _ in range(20)])
        for number in range(20):
            wire.send({"n": number})
        assert [{"echo": {"n": number}} for number in range(20)] == wire.messages(20)
        assert 20 == len(deaf.messages(20))  # it reads after all, and nothing is missing


def test_a_handler_that_refuses_a_message_ends_that_connection():
    with serving() as (server, handler):

        def refuse(peer: object, message: object) -> None:
            raise KeyError("type")

        handler.received = refuse  # type: ignore[method-assign]
        with connected(server) as connection:
            Wire(connection).send({"n": 1})
            assert ended(connection)
        assert ["opened", "closed"] == [handler.next()[0], handler.next()[0]]


def test_closing_ends_every_connection_and_frees_the_port():
    with serving() as (server, handler), connected(server) as one, connected(server) as stranger:
        Wire(one)
        server.close()
        assert ended(one)
        assert ended(stranger)
        assert ["opened", "closed"] == [handler.next()[0], handler.next()[0]]
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(server.address, timeout=5)


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[tuple[Server, Recorder]]:
    """One server for all examples."""
    with serving() as both:
        yield both


@settings(max_examples=40)
@given(pieces=st.lists(st.one_of(st.binary(max_size=200), st.binary(max_size=120).map(framed)), max_size=5))
def test_no_bytes_of_a_stranger_reach_the_handler_or_end_the_server(
    fuzzed: tuple[Server, Recorder], pieces: list[bytes]
):
    server, handler = fuzzed
    with connected(server) as connection, contextlib.suppress(OSError):
        for piece in pieces:
            connection.sendall(piece)
    with connected(server) as connection:
        wire = Wire(connection)
        wire.send({"n": 1})
        assert [{"echo": {"n": 1}}] == wire.messages(1)
    assert ["opened", "received", "closed"] == [handler.next()[0] for _ in range(3)]


@settings(max_examples=40)
@given(data=st.binary(max_size=300))
def test_no_bytes_after_the_handshake_are_a_message(fuzzed: tuple[Server, Recorder], data: bytes):
    server, handler = fuzzed
    with connected(server) as connection:
        Wire(connection)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        assert ended(connection)
    assert ["opened", "closed"] == [handler.next()[0], handler.next()[0]]
