"""The worker's end, over real sockets: it works while the driver lives, and ends soon when it does not."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from spark_nas.engines.channel.client import Client, Door
from spark_nas.engines.channel.frames import MAX_PAYLOAD, ChannelError, Message
from spark_nas.engines.channel.server import Peer, Server
from tests.engines.channel.wires import KEY, Recorder, serving


class Quiet(Recorder):
    """A driver that says only what the test says."""

    def received(self, peer: Peer, message: Message) -> None:
        self.events.put(("received", message))


def door(server: Server, **more: float) -> Door:
    return Door(*server.address, KEY, **{"silence_seconds": 30.0, "connect_seconds": 5.0, **more})


@contextmanager
def session(**more: float) -> Iterator[tuple[Server, Quiet, Client]]:
    with serving(Quiet()) as (server, handler), Client(door(server, **more), 7, "host/1") as client:
        assert isinstance(handler, Quiet)
        assert ("opened",) == handler.next()
        assert ("received", {"type": "hello", "session": 7, "attempt": 0, "where": "host/1"}) == handler.next()
        yield server, handler, client


def say(server: Server, handler: Quiet, message: Message) -> None:
    server.call(lambda: handler.peers[0].send(message))


def test_jobs_come_in_order_and_results_go_out_without_an_answer():
    with session() as (server, handler, client):
        say(server, handler, {"type": "jobs", "jobs": [["a", 1], ["b", 2]]})
        say(server, handler, {"type": "a later version's"})
        jobs = client.jobs()
        assert [("a", 1), ("b", 2)] == [next(jobs), next(jobs)]
        client.deliver((3, 0), 0.5, "result")
        done = {"type": "done", "key": [3, 0], "seconds": 0.5, "result": "result"}
        assert ("received", done) == handler.next()
        say(server, handler, {"type": "end"})
        assert [] == list(jobs)


def test_a_session_says_which_attempt_it_is_and_when_a_job_was_lost():
    with serving(Quiet()) as (server, handler), Client(door(server), 7, "host/1", 3) as client:
        assert ("opened",) == handler.next()
        assert ("received", {"type": "hello", "session": 7, "attempt": 3, "where": "host/1"}) == handler.next()
        client.deliver((3, 0), 0.5, "result", lost=True)
        done = {"type": "done", "key": [3, 0], "seconds": 0.5, "lost": True, "result": "result"}
        assert ("received", done) == handler.next()


def test_an_end_comes_after_the_jobs_that_were_given_before():
    with session() as (server, handler, client):
        say(server, handler, {"type": "jobs", "jobs": [["a", 1]]})
        say(server, handler, {"type": "end"})
        assert [("a", 1)] == list(client.jobs())


def test_a_recall_brings_back_the_last_of_what_is_not_started():
    with session() as (server, handler, client):
        say(server, handler, {"type": "jobs", "jobs": [["a", 1], ["b", 1], ["c", 1]]})
        jobs = client.jobs()
        assert ("a", 1) == next(jobs)
        say(server, handler, {"type": "recall", "count": 1})
        assert ("received", {"type": "returned", "count": 1}) == handler.next()
        say(server, handler, {"type": "recall", "count": 9})
        assert ("received", {"type": "returned", "count": 1}) == handler.next()
        say(server, handler, {"type": "end"})
        assert [] == list(jobs)


def test_a_driver_that_goes_ends_the_session_at_once_and_jobs_not_started_are_not_run():
    with session() as (server, handler, client):
        say(server, handler, {"type": "jobs", "jobs": [["a", 1], ["b", 1]]})
        jobs = client.jobs()
        assert ("a", 1) == next(jobs)
        server.close()
        client._reader.join(10)
        began = time.monotonic()
        client.deliver((0, 0), 0.1, "nobody hears it")
        assert [] == list(jobs)
        assert time.monotonic() - began < 5


def test_a_session_that_waits_for_a_job_ends_when_the_driver_goes():
    with session() as (server, _, client):
        threading.Timer(0.05, server.close).start()
        assert [] == list(client.jobs())


def test_a_session_says_now_and_then_that_it_is_alive():
    with session(silence_seconds=2.0) as (_, handler, _):
        assert [("received", {"type": "ping"})] * 2 == [handler.next(), handler.next()]


def test_a_half_open_connection_ends_the_session_after_the_silence():
    began = time.monotonic()
    with session(silence_seconds=0.4) as (_, _, client):
        assert [] == list(client.jobs())  # the driver is there, and says nothing: no answer to any ping
        assert 0.4 <= time.monotonic() - began < 20


def test_a_driver_that_answers_keeps_the_session():
    class Answering(Quiet):
        def received(self, peer: Peer, message: Message) -> None:
            super().received(peer, message)
            if message["type"] == "ping":
                peer.send({"type": "pong"})

    with serving(Answering()) as (server, handler), Client(door(server, silence_seconds=2.0), 7, "host/1") as client:
        for _ in range(2 + 12):  # opened, hello, and pings for three times the silence
            handler.next()
        server.call(lambda: handler.peers[0].send({"type": "jobs", "jobs": [["a", 1]]}))
        assert ("a", 1) == next(client.jobs())


def test_a_result_too_long_for_a_frame_is_refused_and_the_session_goes_on():
    with session() as (_, handler, client):
        with pytest.raises(ChannelError, match="is more than the"):
            client.deliver((0, 0), 0.1, "x" * MAX_PAYLOAD)
        client.deliver((0, 0), 0.1, "short")
        assert "short" == handler.next()[1]["result"]


def test_a_server_without_the_key_is_found_out():
    with serving(key=b"w" * 32) as (server, _), pytest.raises(ChannelError, match="no way to the driver's channel"):
        Client(door(server, connect_seconds=0.3), 1, "host/1")


def test_an_impostor_is_told_nothing_but_a_proof():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        heard = []

        def impostor() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall((32).to_bytes(4, "big") + b"c" * 32)
                heard.append(connection.recv(4096))
                connection.sendall((32).to_bytes(4, "big") + b"p" * 32)
                heard.append(connection.recv(4096))

        thread = threading.Thread(target=impostor)
        thread.start()
        with pytest.raises(ChannelError, match="the server does not know the run's key"):
            Client(Door(*listener.getsockname(), KEY), 1, "host/1")
        thread.join()
    assert [4 + 64, 0] == [len(data) for data in heard]


def test_a_driver_that_is_not_there_is_an_error_that_names_its_address():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
    with pytest.raises(ChannelError, match=f"no way to the driver's channel at {host}:{port}: .*refused"):
        Client(Door(host, port, KEY, connect_seconds=0.1), 1, "host/1")


def test_the_key_is_in_no_repr():
    assert "kkkk" not in repr(Door("host", 1, KEY))
