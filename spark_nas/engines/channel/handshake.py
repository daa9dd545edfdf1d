"""The handshake: each side proves that it knows the run's key, and neither says it.

    server -> client   challenge S (32 random bytes)
    client -> server   challenge C (32 random bytes), HMAC(key, "client proof", S, C)
    server -> client   HMAC(key, "server proof", S, C)

Every message has one fixed length, so until the client has proved itself there is nothing to parse. Both challenges
are in both proofs: a recorded handshake fits no other connection. The roles are named in them: a challenge or a proof
sent back to its maker proves nothing. The keys of the frames that follow come from the same secrets.
Pure state machines: bytes in, bytes out. They raise ChannelError, and the connection ends without a word.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable

from spark_nas.engines.channel.frames import ChannelError, FrameBuffer, Sealed, framed

NONCE_BYTES = PROOF_BYTES = 32
KEY_BYTES = 32
UNPROVED_LIMIT = 256
"""Bytes of a frame from a side that has not proved itself; the real ones have 32 or 64."""
_PROTOCOL = b"spark_nas channel 1"

Random = Callable[[int], bytes]


class ServerHandshake:
    """The driver's side. `greeting` goes out first; `step` takes what comes until it returns a `Sealed`."""

    def __init__(self, key: bytes, random: Random = os.urandom) -> None:
        self._key = key
        self._nonce = random(NONCE_BYTES)
        self._buffer = FrameBuffer(UNPROVED_LIMIT)
        self.greeting = framed(self._nonce)

    def step(self, data: bytes) -> tuple[bytes, Sealed] | None:
        """The answer and the open connection once the proof is whole; None before. Raises ChannelError."""
        self._buffer.feed(data)
        payload = self._buffer.payload()
        if payload is None:
            return None
        if len(payload) != NONCE_BYTES + PROOF_BYTES:
            raise ChannelError("not a client's proof")
        theirs, proof = payload[:NONCE_BYTES], payload[NONCE_BYTES:]
        if not hmac.compare_digest(proof, _derive(self._key, b"client proof", self._nonce, theirs)):
            raise ChannelError("the client does not know the run's key")
        answer = framed(_derive(self._key, b"server proof", self._nonce, theirs))
        to_client, to_server = _frame_keys(self._key, self._nonce, theirs)
        return answer, Sealed(self._buffer, to_client, to_server)


class ClientHandshake:
    """The worker's side: `step` takes what comes, returns what to send, and sets `opened` when the server is proved."""

    def __init__(self, key: bytes, random: Random = os.urandom) -> None:
        self._key = key
        self._nonce = random(NONCE_BYTES)
        self._buffer = FrameBuffer(UNPROVED_LIMIT)
        self._theirs: bytes | None = None
        self.opened: Sealed | None = None
        """The connection, once the server has proved itself."""

    def step(self, data: bytes) -> bytes:
        """What to send now, maybe nothing. Raises ChannelError."""
        self._buffer.feed(data)
        payload = self._buffer.payload()
        if payload is None:
            return b""
        if len(payload) != NONCE_BYTES:  # a proof is as long as a challenge
            raise ChannelError("this is not the channel of a spark_nas driver")
        if self._theirs is None:
            self._theirs = payload
            return framed(self._nonce + _derive(self._key, b"client proof", self._theirs, self._nonce))
        if not hmac.compare_digest(payload, _derive(self._key, b"server proof", self._theirs, self._nonce)):
            raise ChannelError("the server does not know the run's key")
        to_client, to_server = _frame_keys(self._key, self._theirs, self._nonce)
        self.opened = Sealed(self._buffer, to_server, to_client)
        return b""


def _frame_keys(key: bytes, server_nonce: bytes, client_nonce: bytes) -> tuple[bytes, bytes]:
    """Keys of the frames to the client and to the server."""
    return (
        _derive(key, b"frames to client", server_nonce, client_nonce),
        _derive(key, b"frames to server", server_nonce, client_nonce),
    )


def _derive(key: bytes, purpose: bytes, server_nonce: bytes, client_nonce: bytes) -> bytes:
    # Challenges have a fixed length and purposes none that is another's beginning: no two inputs read the same.
    return hmac.digest(key, b"\0".join((_PROTOCOL, purpose, b"")) + server_nonce + client_nonce, "sha256")
