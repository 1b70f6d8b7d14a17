#!/usr/bin/env python3
"""A Hearth function in plain Python: all of docs/protocol.md that a worker needs, in one file.

Copy it and write a `handle` of your own; `start` makes what should stay warm between requests. What stands
below them speaks the wire. `hearth up` starts this program, with its control socket as descriptor 3.

One handler runs at a time. While it waits, for more of its request or for credit to send more of its answer,
the worker takes in whatever comes: further requests queue, and PING, CANCEL, DRAIN and STOP are seen.
"""
import collections, json, selectors, socket, struct, sys, traceback, urllib.parse

JSON, BYTES = [["content-type", "application/json"]], [["content-type", "application/octet-stream"]]


def start(config):
    """Makes the state that handlers share, from CONFIG's `env` and `resources`; what it raises is START_FAILED."""
    return {"name": config["function"]}


def handle(state, request):
    """The function: (status, headers, body) for a request. A body is bytes, or yields them piece by piece."""
    head = request.head
    if head["route"] == "/py/echo":
        return 200, BYTES, request.body()
    if head["route"] == "/py/stream":
        size = int(dict(urllib.parse.parse_qsl(head["query"])).get("bytes", 0))
        return 200, BYTES, (b"x" * min(PIECE, size - sent) for sent in range(0, size, PIECE))
    if head["route"] == "/py/fail":
        raise RuntimeError("this route always fails")
    greeting = {"hello": f"from {state['name']}", "method": head["method"], "path": head["path"],
                "params": dict(head["params"]), "user-agent": dict(head["headers"]).get("user-agent")}
    return 200, JSON, json.dumps(greeting).encode()


# The wire, version 1.

HELLO, CONFIG, READY, START_FAILED, ATTACH, LOG, PING, PONG, DRAIN, STOP = range(1, 11)
REQUEST, RESPONSE, DATA, TRAILERS, WINDOW, MESSAGE, CANCEL, ERROR, GOAWAY = range(32, 41)
END_STREAM, RETRY_SAFE = 1, 2
PROTOCOL, INTERNAL, CANCELLED, REFUSED, CREDIT, UNSUPPORTED = range(1, 7)  # an ERROR's aux
CONTROL_LIMIT, DATA_LIMIT = 4_194_304, 262_144  # bytes after a frame's header
PIECE = 65_536  # bytes of a body in one frame
HEADER = struct.Struct("<IIBBHI")
Frame = collections.namedtuple("Frame", "stream kind flags aux payload")


class Broken(ValueError):
    """The other side broke the rules of the wire; so does a head that is no JSON, a ValueError too."""


class Gone(Exception):
    """Nobody wants this answer any more."""


def frames(buffer, limit):
    """Takes the complete frames off the front of a bytearray."""
    while len(buffer) >= HEADER.size:
        length, stream, kind, flags, ext_len, aux = HEADER.unpack_from(buffer)
        if length > limit or ext_len > length:
            raise Broken("frame longer than allowed, or extensions longer than their frame")
        if len(buffer) < HEADER.size + length:
            return
        body = bytes(buffer[HEADER.size:HEADER.size + length])
        del buffer[:HEADER.size + length]
        at = 0
        while at < ext_len:
            if at + 4 > ext_len or at + 4 + int.from_bytes(body[at + 2:at + 4], "little") > ext_len:
                raise Broken("extension cut off")
            if body[at + 1] & 0x80:
                raise Broken("an extension must be understood and is not")
            at += 4 + int.from_bytes(body[at + 2:at + 4], "little")
        yield Frame(stream, kind, flags, aux, body[ext_len:])


class Wire:
    """A socket that carries frames, each of which it gives to `take`."""

    def __init__(self, selector, sock, limit, take):
        self.selector, self.sock, self.limit, self.take = selector, sock, limit, take
        self.buffer, self.descriptors, self.streams = bytearray(), collections.deque(), {}
        selector.register(sock, selectors.EVENT_READ, self)

    def send(self, stream, kind, flags=0, aux=0, payload=b""):
        try:
            self.sock.sendall(HEADER.pack(len(payload), stream, kind, flags, 0, aux) + payload)
        except OSError:
            self.close()

    def receive(self):
        if self.sock.fileno() < 0:  # closed since it was found readable
            return
        try:
            data, descriptors, _, _ = socket.recv_fds(self.sock, 262_144, 16)
        except OSError:
            data, descriptors = b"", []
        self.descriptors.extend(descriptors)
        self.buffer += data
        try:
            for frame in frames(self.buffer, self.limit):
                self.take(self, frame)
        except ValueError as why:
            self.send(0, ERROR, 0, PROTOCOL, str(why).encode())
            data = b""
        if not data:
            self.close()

    def close(self):
        if self.sock.fileno() >= 0:
            self.selector.unregister(self.sock)
            self.sock.close()
        for stream in self.streams.values():
            stream.gone = stream.answered = True
        self.streams.clear()


class Stream:
    """One request and its answer."""

    def __init__(self, worker, wire, slot, head, first):
        self.worker, self.wire, self.slot, self.head = worker, wire, slot, head
        self.first, self.pieces = first, collections.deque()
        self.credit = worker.credit  # bytes that may still be sent
        self.ended = False  # the gateway's direction
        self.begun = self.answered = False  # the worker's direction
        self.gone = False

    def body(self):
        """The request's body, piece by piece as it comes."""
        yield self.first  # takes no credit, so none is given back
        consumed = 0
        while True:
            self.wait_for(lambda: self.pieces or self.ended)
            if not self.pieces:
                return
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
            return self.end(RESPONSE, len(head), head + body)
        self.send(RESPONSE, 0, len(head), head)
        for piece in [body] if isinstance(body, bytes) else body:
            while piece:
                self.wait_for(lambda: self.credit > 0)
                part = piece[:min(PIECE, self.credit)]
                self.credit -= len(part)
                self.send(DATA, 0, 0, part)
                piece = piece[len(part):]
        self.end(DATA)

    def wait_for(self, what):
        while not self.gone and not what():
            self.worker.take_in()
        if self.gone:
            raise Gone

    def send(self, kind, flags=0, aux=0, payload=b""):
        if not self.answered:
            self.wire.send(self.slot, kind, flags, aux, payload)

    def end(self, kind, aux=0, payload=b""):
        """Ends the worker's direction; an ERROR ends both."""
        self.send(kind, 0 if kind == ERROR else END_STREAM, aux, payload)
        self.answered, self.ended = True, self.ended or kind == ERROR
        self.forget_if_over()

    def forget_if_over(self):
        if self.answered and self.ended:
            self.wire.streams.pop(self.slot, None)


class Worker:
    def __init__(self, control):
        self.selector = selectors.DefaultSelector()
        self.control = Wire(self.selector, control, CONTROL_LIMIT, self.on_control)
        self.data = {}  # a gateway thread's number to its Wire
        self.queue = collections.deque()  # streams whose handler has not been started
        self.draining = False

    def run(self):
        self.control.send(0, HELLO, payload=b"HRTH" + bytes([1, 1, 2, 0]))
        while not self.draining:
            self.take_in(0 if self.queue else None)
            if self.queue:
                self.serve(self.queue.popleft())

    def take_in(self, timeout=None):
        """Takes what has come on any socket; waits for something if there is nothing."""
        for key, _ in self.selector.select(timeout):
            key.data.receive()
        if self.control.sock.fileno() < 0:
            sys.exit("the control socket has ended")

    def serve(self, stream):
        try:
            stream.wait_for(lambda: True)  # it may have been cancelled in the queue
            stream.answer(*handle(self.state, stream))
        except Gone:
            stream.end(ERROR, CANCELLED)
        except Exception as why:
            self.log("error", repr(why), request=stream.head["id"], fields={"traceback": traceback.format_exc()})
            if stream.begun:
                stream.end(ERROR, INTERNAL, b"the handler failed")
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
            sys.exit(0)

    def on_data(self, wire, frame):
        slot, kind, flags, aux, payload = frame
        stream = wire.streams.get(slot)
        if kind == REQUEST:
            if slot == 0 or stream or aux > len(payload):
                raise Broken("REQUEST on slot 0, on a slot in use, or with a head longer than its payload")
            stream = Stream(self, wire, slot, json.loads(payload[:aux]), payload[aux:])
            wire.streams[slot] = stream
            if self.draining:
                return stream.end(ERROR, REFUSED)  # TODO retry safe
            self.queue.append(stream)
