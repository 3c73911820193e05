"""HTTP/2 framing behind one small interface: libnghttp2 where its wheel is there, else pure Python.

Only this file names the two libraries. Both know nothing of sockets: bytes go in by `receive`,
what happened comes back as `Happening`s, and `outgoing` gives the bytes to write. Source: RFC 9113.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

Fields = Sequence[tuple[bytes, bytes]]
STREAMS = 250  # at once on one connection, as kube-apiserver allows
STREAM_WINDOW = 1024 * 1024  # bytes of a request body that may be under way
CONNECTION_WINDOW = 16 * 1024 * 1024
HEADER_LIST = 256 * 1024

CANCEL, INTERNAL, CALM = 0x8, 0x2, 0xB


class Happening(NamedTuple):
    """`value`: fields of a request, bytes of data; None for an end, a reset, an opened window."""

    what: Literal["request", "data", "end", "reset", "window", "goaway"]
    stream: int
    value: Any = None


class BadFrames(Exception):
    """The peer broke the protocol; `outgoing` holds the GOAWAY to send before closing."""


class Frames(Protocol):
    def receive(self, data: bytes) -> list[Happening]: ...
    def respond(self, stream: int, fields: Fields, end: bool) -> None: ...
    def send(self, stream: int, data: bytes, end: bool) -> None: ...
    def queued(self, stream: int) -> int:
        """Bytes of `send` that flow control still holds back."""
        ...

    def consumed(self, stream: int, amount: int) -> None:
        """Let the peer send that much more."""
        ...

    def reset(self, stream: int, code: int = CANCEL) -> None: ...
    def end(self) -> None:
        """No new streams; those open may finish."""
        ...

    def outgoing(self, amount: int) -> bytes: ...

    @property
    def over(self) -> bool:
        """Nothing more will be read or written: close the connection."""
        ...


class NativeFrames:
    """By libnghttp2."""

    def __init__(self) -> None:
        import ngh2

        self._ngh2 = ngh2
        self._connection = ngh2.Connection(
            ngh2.Role.SERVER,
            ngh2.Configuration(auto_window_update=False, max_inbound_header_list_size=HEADER_LIST),
        )
        self._connection.initiate_connection({3: STREAMS, 4: STREAM_WINDOW})
        self._connection.set_local_window_size(CONNECTION_WINDOW)

    def receive(self, data: bytes) -> list[Happening]:
        ngh2 = self._ngh2
        try:
            self._connection.receive_data(data)
        except ngh2.NGH2Error as error:
            raise BadFrames(str(error)) from error
        found = []
        event: Any
        for event in self._connection.events():
            kind = type(event)
            if kind is ngh2.RequestReceived:
                found.append(Happening("request", event.stream_id, event.headers))
                if event.end_stream:
                    found.append(Happening("end", event.stream_id))
            elif kind is ngh2.DataReceived:
                found.append(Happening("data", event.stream_id, event.data))
                if event.end_stream:
                    found.append(Happening("end", event.stream_id))
            elif kind is ngh2.TrailersReceived:
                found.append(Happening("end", event.stream_id))
            elif kind is ngh2.StreamReset or (kind is ngh2.StreamClosed and event.error_code):
                found.append(Happening("reset", event.stream_id))
            elif kind is ngh2.WindowUpdated:
                found.append(Happening("window", event.stream_id))
            elif kind is ngh2.SettingsReceived:
                found.append(Happening("window", 0))
            elif kind is ngh2.GoAwayReceived:
                found.append(Happening("goaway", 0))
            elif kind is ngh2.ConnectionClosed:
                raise BadFrames(f"error code {event.error_code}")
        return found

    # A stream may have been reset by the same bytes that brought its request: then nobody listens.

    def respond(self, stream: int, fields: Fields, end: bool) -> None:
        with contextlib.suppress(self._ngh2.NGH2Error):
            self._connection.send_response(stream, fields, end_stream=end)

    def send(self, stream: int, data: bytes, end: bool) -> None:
        with contextlib.suppress(self._ngh2.NGH2Error):
            self._connection.send_data(stream, data, end_stream=end)

    def queued(self, stream: int) -> int:
        try:
            return int(self._connection.queued_body_size(stream))
        except self._ngh2.NGH2Error:
            return 0

    def consumed(self, stream: int, amount: int) -> None:
        with contextlib.suppress(self._ngh2.NGH2Error):
            self._connection.acknowledge_received_data(amount, stream)

    def reset(self, stream: int, code: int = CANCEL) -> None:
        with contextlib.suppress(self._ngh2.NGH2Error):
            self._connection.reset_stream(stream, code)

    def end(self) -> None:
        with contextlib.suppress(self._ngh2.NGH2Error):
            self._connection.send_goaway()

    def outgoing(self, amount: int) -> bytes:
        return bytes(self._connection.data_to_send(amount))

    @property
    def over(self) -> bool:
        return not self._connection.want_read and not self._connection.want_write


class PythonFrames:
    """By hyper-h2: five to fourteen times the CPU, but it runs anywhere."""

    def __init__(self) -> None:
        import h2.config
        import h2.connection
        import h2.events
        import h2.exceptions
        import h2.settings

        self._h2 = h2
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self._connection = h2.connection.H2Connection(config)
        self._connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_LIST,
            },
        )
        self._connection.initiate_connection()
        self._connection.increment_flow_control_window(CONNECTION_WINDOW - 65535)
        self._held: dict[int, deque[tuple[bytes, bool]]] = {}
        self._ready = bytearray()

    def receive(self, data: bytes) -> list[Happening]:
        events = self._h2.events
        try:
            happened = self._connection.receive_data(data)
        except self._h2.exceptions.ProtocolError as error:
            raise BadFrames(str(error)) from error
        found = []
        event: Any
        for event in happened:
            kind = type(event)
            if kind is events.RequestReceived:
                found.append(Happening("request", event.stream_id, event.headers))
            elif kind is events.DataReceived:
                if padding := event.flow_controlled_length - len(event.data):
                    self.consumed(event.stream_id, padding)
                found.append(Happening("data", event.stream_id, event.data))
            elif kind is events.StreamEnded:
                found.append(Happening("end", event.stream_id))
            elif kind is events.StreamReset:
                self._held.pop(event.stream_id, None)
                found.append(Happening("reset", event.stream_id))
            elif kind in (events.WindowUpdated, events.RemoteSettingsChanged):
                stream = getattr(event, "stream_id", 0)
                for held in [stream] if stream else list(self._held):
                    self._flush(held)
                found.append(Happening("window", stream))
            elif kind is events.ConnectionTerminated:
                found.append(Happening("goaway", 0))
        return found

    def respond(self, stream: int, fields: Fields, end: bool) -> None:
        with contextlib.suppress(self._h2.exceptions.ProtocolError):
            self._connection.send_headers(stream, fields, end_stream=end)

    def send(self, stream: int, data: bytes, end: bool) -> None:
        self._held.setdefault(stream, deque()).append((data, end))
        self._flush(stream)

    def _flush(self, stream: int) -> None:
        try:
            self._flush_held(stream)
        except self._h2.exceptions.ProtocolError:
            self._held.pop(stream, None)

    def _flush_held(self, stream: int) -> None:
        held = self._held.get(stream)
        while held:
            data, end = held[0]
            room = self._connection.local_flow_control_window(stream)
            size = min(room, self._connection.max_outbound_frame_size, len(data))
            if data and size <= 0:
                return
            last = size == len(data)
            self._connection.send_data(stream, data[:size], end_stream=end and last)
            if last:
                held.popleft()
            else:
                held[0] = (data[size:], end)
        self._held.pop(stream, None)

    def queued(self, stream: int) -> int:
        return sum(len(data) for data, _ in self._held.get(stream, ()))

    def consumed(self, stream: int, amount: int) -> None:
        with contextlib.suppress(self._h2.exceptions.ProtocolError):
            self._connection.acknowledge_received_data(amount, stream)

    def reset(self, stream: int, code: int = CANCEL) -> None:
        self._held.pop(stream, None)
        with contextlib.suppress(self._h2.exceptions.ProtocolError):
            self._connection.reset_stream(stream, code)

    def end(self) -> None:
        self._connection.close_connection()

    def outgoing(self, amount: int) -> bytes:
        self._ready += self._connection.data_to_send()
        part = bytes(self._ready[:amount])
        del self._ready[:amount]
        return part

    @property
    def over(self) -> bool:
        return False  # a broken connection is told by BadFrames


def server_frames() -> Frames:
    try:
        return NativeFrames()
    except ImportError:
        return PythonFrames()
