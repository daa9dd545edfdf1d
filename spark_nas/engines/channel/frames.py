"""Frames: how bytes of a stream become messages, with a length limit, and a seal on each once there are keys.

    4 bytes length (big-endian) | payload                 during the handshake, of the one length that is due
    4 bytes length (big-endian) | 32 bytes seal | JSON    afterwards

The seal is an HMAC over the frame's number and its JSON, with a key of this connection and this direction: a frame
that anyone else has written, changed, repeated or left out ends the connection before its JSON is looked at.
Everything here is pure: bytes in, messages out, no socket.
"""

from __future__ import annotations

import hmac
import json
import struct
from collections.abc import Iterator
from typing import Any

from spark_nas.errors import SparkNasError

MAX_PAYLOAD = 16 * 2**20
"""Bytes of one message, seal included; a longer one ends the connection."""
SEAL_BYTES = 32
_LENGTH = struct.Struct("!I")
_NUMBER = struct.Struct("!Q")

Message = dict[str, Any]
"""A JSON object. `Any`: whoever reads a field checks it."""


class ChannelError(SparkNasError):
    """The other side does not keep to the protocol, or does not know the run's key. Ends the connection."""


class FrameBuffer:
    """Collects bytes, gives whole payloads. What is buffered is never more than one limit and one read."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """The longest payload accepted now, in bytes; raised once the other side has proved itself."""
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what a read has brought."""
        self._bytes += data

    def payload(self) -> bytes | None:
        """The next whole payload; None when more bytes are needed. Raises ChannelError for one beyond the limit."""
        if len(self._bytes) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._bytes)
        if length > self.limit:
            raise ChannelError(f"a frame of {length} bytes is more than the {self.limit} allowed here")
        end = _LENGTH.size + length
        if len(self._bytes) < end:
            return None
        payload = bytes(memoryview(self._bytes)[_LENGTH.size : end])
        del self._bytes[:end]
        return payload


def framed(payload: bytes) -> bytes:
    """A payload with its length before it. Raises ChannelError for one that the other side would refuse."""
    if len(payload) > MAX_PAYLOAD:
        raise ChannelError(f"a message of {len(payload)} bytes is more than the {MAX_PAYLOAD} of one frame")
    return _LENGTH.pack(len(payload)) + payload


class Sealed:
    """The messages of one authenticated connection, seen from one of its ends."""

    def __init__(self, buffer: FrameBuffer, sending: bytes, receiving: bytes) -> None:
        """`sending` and `receiving` are the keys of the two directions; `buffer` may hold bytes already."""
        self._buffer = buffer
        buffer.limit = MAX_PAYLOAD
        self._sending, self._receiving = sending, receiving
        self._sent = self._received = 0

    def pack(self, message: Message) -> bytes:
        """The next frame to send. Frames must go out in the order of packing. Raises ChannelError when too long."""
        body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
        frame = framed(_seal(self._sending, self._sent, body) + body)
        self._sent += 1
        return frame

    def unpack(self, data: bytes) -> Iterator[Message]:
        """Messages that are whole with these bytes. Raises ChannelError for whatever is not a sealed JSON object."""
        self._buffer.feed(data)
        while (payload := self._buffer.payload()) is not None:
            seal, body = payload[:SEAL_BYTES], payload[SEAL_BYTES:]
            if not hmac.compare_digest(seal, _seal(self._receiving, self._received, body)):
                raise ChannelError("a frame's seal is wrong")
            self._received += 1
            yield _parse(body)


def _seal(key: bytes, number: int, body: bytes) -> bytes:
    return hmac.digest(key, _NUMBER.pack(number) + body, "sha256")


def _parse(body: bytes) -> Message:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ChannelError("a message is not JSON") from error
    if not isinstance(message, dict):
        raise ChannelError("a message is not a JSON object")
    return message
