#!/usr/bin/env python3
"""A Hearth function in plain Python: all of docs/protocol.md that a worker needs, in one file.

Copy it and write a `handle` of your own; `start` makes what should stay warm between requests. What stands
below them speaks the wire. `hearth up` starts this program with its control socket as descriptor 3.

One handler runs at a time. While it waits, for more of its request or for credit to send more of its answer,
the worker takes in whatever comes: further requests queue, and PING, CANCEL, DRAIN and STOP are obeyed.
"""
import collections
import json
import selectors
import socket
import struct
import sys
import traceback
import urllib.parse

JSON, BYTES = [["content-type", "application/json"]], [["content-type", "application/octet-stream"]]


def start(config):
    """Makes what handlers share, from CONFIG's `env` and `resources`. What it raises becomes START_FAILED."""
    return {"greeter": f"{config['function']}, worker {config['worker']}"}


def handle(state, request):
    """The function: returns (status, headers, body). A body is bytes, or yields them piece by piece."""
    head = request.head
    if head["route"] == "/py/echo":
        return 200, BYTES, request.body()
    if head["route"] == "/py/stream":
        size = int(dict(urllib.parse.parse_qsl(head["query"])).get("bytes", 0))
        return 200, BYTES, (b"x" * min(PIECE, size - sent) for sent in range(0, size, PIECE))
    if head["route"] == "/py/fail":
        raise RuntimeError("this route always fails")
    greeting = {"from": state["greeter"], "method": head["method"], "path": head["path"],
                "params": dict(head["params"]), "user_agent": dict(head["headers"]).get("user-agent")}
    return 200, JSON, json.dumps(greeting).encode()


# The wire, version 1.

HELLO, CONFIG, READY, START_FAILED, ATTACH, LOG, PING, PONG, DRAIN, STOP = range(1, 11)
REQUEST, RESPONSE, DATA, TRAILERS, WINDOW, MESSAGE, CANCEL, ERROR, GOAWAY = range(32, 41)
END_STREAM, RETRY_SAFE = 1, 2
PROTOCOL, INTERNAL, CANCELLED, REFUSED, CREDIT, UNSUPPORTED = range(1, 7)  # an ERROR's aux
CONTROL_LIMIT, DATA_LIMIT = 4_194_304, 262_144  # bytes after a frame's header
PIECE = 65_536  # bytes of a body in one frame
HEADER, EXTENSION = struct.Struct("<IIBBHI"), struct.Struct("<HH")
Frame = collections.namedtuple("Frame", "stream kind flags aux payload")


class Broken(ValueError):
    """The other side broke the rules of the wire. (A head that is not JSON is a ValueError as well.)"""


class Gone(Exception):
    """Nobody wants this answer any more."""


def frames(buffer, limit):
    """Takes the complete frames off the front of a bytearray."""
    while len(buffer) >= HEADER.size:
        length, stream, kind, flags, ext_len, aux = HEADER.unpack_from(buffer)
        if length > limit or ext_len > length:
            raise Broken("a frame beyond the limit, or extensions beyond their frame")
        if len(buffer) < HEADER.size + length:
            return
        body = bytes(buffer[HEADER.size:HEADER.size + length])
        del buffer[:HEADER.size + length]
        at = 0
        while at < ext_len:
            if at + EXTENSION.size > ext_len:
                raise Broken("an extension that is cut off")
            number, size = EXTENSION.unpack_from(body, at)
            at += EXTENSION.size + size
            if at > ext_len or number & 0x8000:
                raise Broken("an extension that is cut off, or that must be understood and is not")
        yield Frame(stream, kind, flags, aux, body[ext_len:])


class Wire:
    """A socket with frames on it, each of which is given to `take`."""

    def __init__(self, selector, sock, limit, take):
        self.selector, self.sock, self.limit, self.take = selector, sock, limit, take
        self.buffer, self.descriptors = bytearray(), collections.deque()
        self.streams = {}  # by slot, until both directions are ended
        self.open = True
        selector.register(sock, selectors.EVENT_READ, self)

    def send(self, slot, kind, flags=0, aux=0, payload=b""):
        try:
            if self.open:
                self.sock.sendall(HEADER.pack(len(payload), slot, kind, flags, 0, aux) + payload)
        except OSError:
            self.close()

    def receive(self):
        if not self.open:
            return
        try:
            data, descriptors, _, _ = socket.recv_fds(self.sock, 262_144, 16)
            self.descriptors.extend(descriptors)
            self.buffer += data
            for frame in frames(self.buffer, self.limit):
                self.take(self, frame)
        except ValueError as why:
            self.send(0, ERROR, 0, PROTOCOL, str(why).encode())
            data = b""
        except OSError:
            data = b""
        if not data:
            self.close()

    def close(self):
        if self.open:
            self.open = False
            self.selector.unregister(self.sock)
            self.sock.close()
        for stream in self.streams.values():
            stream.gone = stream.answered = True


class Stream:
    """One request and its answer."""

    def __init__(self, worker, wire, slot, head, first, ended):
        self.worker, self.wire, self.slot, self.head = worker, wire, slot, head
        self.first, self.pieces, self.ended = first, collections.deque(), ended  # the gateway's direction
        self.credit, self.begun, self.answered = worker.credit, False, False  # the worker's direction
        self.gone = False  # cancelled

    def body(self):
        """The request's body, piece by piece as it comes."""
        yield self.first  # took no credit, so none is given back
        consumed = 0
        while self.wait_until(lambda: self.pieces or self.ended) and self.pieces:
            piece = self.pieces.popleft()
            yield piece
            consumed += len(piece)
            if consumed >= self.worker.credit // 2 and not self.ended:
                self.send(WINDOW, 0, consumed)
                consumed = 0

    def answer(self, status, headers, body):
        head = json.dumps({"status": status, "headers": headers}).encode()
        self.begun = True
        if isinstance(body, bytes) and len(body) <= PIECE:
            return self.end(RESPONSE, END_STREAM, len(head), head + body)
        self.send(RESPONSE, 0, len(head), head)
        for piece in [body] if isinstance(body, bytes) else body:
            while piece and self.wait_until(lambda: self.credit > 0):
                size = min(len(piece), self.credit, PIECE)
                self.send(DATA, 0, 0, piece[:size])
                self.credit -= size
                piece = piece[size:]
        self.end(DATA, END_STREAM)

    def wait_until(self, condition):
        while not self.gone and not condition():
            self.worker.take_in()
        if self.gone:
            raise Gone
        return True

    def send(self, kind, flags, aux=0, payload=b""):
        if not self.answered:
            self.wire.send(self.slot, kind, flags, aux, payload)

    def end(self, kind, flags, aux=0, payload=b""):
        """Ends the worker's direction; an ERROR ends both."""
        self.send(kind, flags, aux, payload)
        self.answered, self.ended = True, self.ended or kind == ERROR
        self.forget_if_over()

    def forget_if_over(self):
        if self.answered and self.ended and self.wire.streams.get(self.slot) is self:
            del self.wire.streams[self.slot]


class Worker:
    def __init__(self, control):
        self.selector = selectors.DefaultSelector()
        self.control = Wire(self.selector, control, CONTROL_LIMIT, self.on_control)
        self.data = {}  # wires, by the number of the gateway's thread
        self.queue = collections.deque()  # streams whose handler has not been started
        self.draining = False

    def run(self):
        self.control.send(0, HELLO, payload=b"HRTH" + bytes([1, 1, 2, 0]))
        while not self.draining:
            self.take_in(0 if self.queue else None)
            if self.queue:
                self.serve(self.queue.popleft())

    def take_in(self, timeout=None):
        """Takes what has come on all sockets, and waits for it up to `timeout`."""
        for key, _ in self.selector.select(timeout):
            key.data.receive()
        if not self.control.open:
            sys.exit()

    def serve(self, stream):
        try:
            if stream.gone:  # while it was in the queue
                raise Gone
            stream.answer(*handle(self.state, stream))
        except Gone:
            stream.end(ERROR, 0, CANCELLED)
        except Exception as why:
            self.log("error", repr(why), request=stream.head["id"], fields={"traceback": traceback.format_exc()})
            if stream.begun:
                stream.end(ERROR, 0, INTERNAL, b"the handler failed")
            else:
                stream.answer(500, [["content-type", "text/plain"]], b"internal error\n")

    def log(self, level, message, **more):
        self.control.send(0, LOG, payload=json.dumps({"level": level, "message": message, **more}).encode())

    def on_control(self, wire, frame):
        if frame.kind == CONFIG:
            config = json.loads(frame.payload)
            self.credit = config["limits"]["credit"]
            try:
                self.state = start(config)
            except Exception as why:
                wire.send(0, START_FAILED, payload=str(why).encode())
                sys.exit(1)
            wire.send(0, READY)
        elif frame.kind == ATTACH:
            if frame.aux in self.data:
                self.data[frame.aux].close()
            sock = socket.socket(fileno=wire.descriptors.popleft())
            self.data[frame.aux] = Wire(self.selector, sock, DATA_LIMIT, self.on_data)
        elif frame.kind == PING:
            wire.send(0, PONG, aux=frame.aux)
        elif frame.kind == DRAIN:
            self.draining = True
            for data in self.data.values():
                slots = [stream.slot for stream in self.queue if stream.wire is data]
                data.send(0, GOAWAY, payload=struct.pack(f"<{len(slots)}I", *slots))
            self.queue.clear()
        elif frame.kind == STOP:
            sys.exit()

    def on_data(self, wire, frame):
        slot, kind, flags, aux, payload = frame
        stream = wire.streams.get(slot)
        if kind == ERROR:
            self.log("warn", f"the gateway gave up slot {slot}: {payload.decode()}")
        if kind == REQUEST:
            if slot == 0 or stream or aux > len(payload):
                raise Broken("REQUEST on slot 0, on one in use, or with a head longer than its payload")
            ended = bool(flags & END_STREAM)
            stream = Stream(self, wire, slot, json.loads(payload[:aux]), payload[aux:], ended)
            wire.streams[slot] = stream
            if self.draining:  # it was on its way when GOAWAY was
                stream.end(ERROR, RETRY_SAFE, REFUSED, b"stopping")
            else:
                self.queue.append(stream)
        elif kind not in (DATA, TRAILERS, WINDOW, CANCEL, ERROR):
            if kind <= STOP or REQUEST <= kind <= GOAWAY:
                raise Broken("a frame that a gateway does not send")
            if slot != 0:
                wire.send(slot, ERROR, 0, UNSUPPORTED, b"unknown kind of frame")
        elif kind == WINDOW and aux == 0:
            raise Broken("WINDOW without credit")
        elif kind == ERROR and slot == 0:
            wire.close()
        elif stream and kind == WINDOW:
            stream.credit += aux
        elif stream:
            if kind == DATA and payload and not stream.answered:
                stream.pieces.append(payload)
            stream.gone = stream.gone or kind in (CANCEL, ERROR)
            stream.answered = stream.answered or kind == ERROR
            stream.ended = stream.ended or kind != DATA or bool(flags & END_STREAM)
            stream.forget_if_over()


if __name__ == "__main__":
    try:
        control = socket.socket(fileno=3)
    except OSError:
        sys.exit("this is a Hearth function: `hearth up` starts it")
    Worker(control).run()
