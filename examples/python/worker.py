#!/usr/bin/env python3
"""A Hearth function in plain Python, with all of docs/protocol.md that it needs; `hearth up` starts it.

Copy it and write your own `start` and `handle`. Handlers run one at a time, each when its request is complete.
"""
import json
import select
import socket
import struct
import sys
import traceback

EARLY = {"/py/echo"}  # handled before the whole body has arrived; a piece b"" means "nothing yet"


def start(config):
    """Makes what stays warm between requests, from CONFIG's `env`, `secrets` and `resources`."""
    return {"greeter": f"{config['function']}, worker {config['worker']}"}


def handle(state, head, body):
    """The function: BODY comes in pieces. Returns (status, headers, body), a body being bytes, or pieces too."""
    if head["route"] == "/py/echo":
        return 200, [], body
    if head["route"] == "/py/stream":
        size = int(head["query"].removeprefix("bytes="))
        return 200, [], (b"x" * min(PIECE, size - sent) for sent in range(0, size, PIECE))
    if head["route"] == "/py/fail":
        raise RuntimeError("this route always fails")
    greeting = {"from": state["greeter"], "method": head["method"], "path": head["path"],
                "params": dict(head["params"]), "user_agent": dict(head["headers"]).get("user-agent")}
    return 200, [["content-type", "application/json"]], json.dumps(greeting).encode()


# The rest of this file implements the protocol, version 1.
HELLO, CONFIG, READY, START_FAILED, ATTACH, LOG, PING, PONG, DRAIN, STOP, RESOLVE, RESOLVED = range(1, 13)
REQUEST, RESPONSE, DATA, TRAILERS, WINDOW, MESSAGE, CANCEL, ERROR, GOAWAY = range(32, 41)
END_STREAM, RETRY_SAFE = 1, 2  # flags
PROTOCOL, INTERNAL, CANCELLED, REFUSED, CREDIT, UNSUPPORTED = range(1, 7)  # the aux of an ERROR
CONTROL_LIMIT, DATA_LIMIT, PIECE = 4_194_304, 262_144, 65_536  # bytes after a header; body bytes in a frame
HEADER = struct.Struct("<IIBBHI")


def frames(buffer, limit):
    """Takes the complete frames off the front of a bytearray: (slot, kind, flags, aux, payload)."""
    while len(buffer) >= HEADER.size:
        length, slot, kind, flags, ext_len, aux = HEADER.unpack_from(buffer)
        if length > limit or ext_len > length:
            raise ValueError("a frame beyond the limit, or extensions beyond their frame")
        if len(buffer) < HEADER.size + length:
            return
        body = bytes(buffer[HEADER.size:HEADER.size + length])
        del buffer[:HEADER.size + length]
        extensions, payload = body[:ext_len], body[ext_len:]
        while extensions:  # this worker knows none: skip those that may be skipped
            size = 4 + int.from_bytes(extensions[2:4], "little")
            if size > len(extensions) or extensions[1] & 0x80:
                raise ValueError("an extension that is cut off, or that must be understood and is not")
            extensions = extensions[size:]
        yield slot, kind, flags, aux, payload


def send(sock, slot, kind, flags=0, aux=0, payload=b""):
    try:
        sock.sendall(HEADER.pack(len(payload), slot, kind, flags, 0, aux) + payload)
    except OSError:
        pass  # the socket is closed; the next read finds that out


class Request:
    def __init__(self, key, head, credit):
        self.key, self.head, self.credit = key, head, credit
        self.pieces, self.ended, self.started = [], False, False

    def body(self):
        while self.pieces or not self.ended:
            yield self.pieces.pop(0) if self.pieces else b""

    def serve(self, worker):
        """Calls the handler and sends its answer. Each `yield` waits for further frames of this request."""
        while not self.ended and self.head["route"] not in EARLY:
            yield
        self.started, responded = True, False
        try:
            status, headers, body = handle(worker.state, self.head, self.body())
            head = json.dumps({"status": status, "headers": headers}).encode()
            if isinstance(body, bytes) and len(body) <= PIECE:
                return send(*self.key, RESPONSE, END_STREAM, len(head), head + body)
            responded = True
            send(*self.key, RESPONSE, aux=len(head), payload=head)
            for piece in [memoryview(body)] if isinstance(body, bytes) else body:
                if not piece and not self.ended:
                    yield
                while piece:
                    while not self.credit:
                        yield
                    size = min(len(piece), self.credit, PIECE)
                    send(*self.key, DATA, payload=piece[:size])
                    self.credit, piece = self.credit - size, piece[size:]
            send(*self.key, DATA, END_STREAM)
        except Exception as why:
            record = {"level": "error", "message": repr(why), "request": self.head["id"],
                      "fields": {"traceback": traceback.format_exc()}}
            send(worker.control, 0, LOG, payload=json.dumps(record).encode())
            if responded:
                return send(*self.key, ERROR, aux=INTERNAL)
            head = b'{"status": 500, "headers": [["content-type", "text/plain"]]}'
            send(*self.key, RESPONSE, END_STREAM, len(head), head + b"internal error\n")


class Worker:
    def __init__(self, control):
        self.control, self.sockets = control, {control: bytearray()}  # each with its unread bytes
        self.requests = {}  # (socket, slot): (Request, generator of its `serve`), until the response ends
        self.descriptors, self.draining = [], False

    def run(self):
        send(self.control, 0, HELLO, payload=b"HRTH\1\1\2\0")  # version 1, heads in JSON
        while not self.draining or len(self.sockets) > 1:  # the gateway closes its sockets after all responses
            for sock in select.select(list(self.sockets), [], [])[0]:
                self.receive(sock)

    def receive(self, sock):
        limit, take = (CONTROL_LIMIT, self.on_control) if sock is self.control else (DATA_LIMIT, self.on_data)
        try:
            data, descriptors, _, _ = socket.recv_fds(sock, DATA_LIMIT, 16)
            self.descriptors += descriptors
            self.sockets[sock] += data
            for frame in frames(self.sockets[sock], limit):
                take(sock, *frame)
        except (OSError, ValueError) as why:  # ValueError: invalid frame, JSON or UTF-8
            send(sock, 0, ERROR, aux=PROTOCOL, payload=str(why).encode())
            data = b""
        if not data:
            if sock is self.control:
                sys.exit()
            del self.sockets[sock]
            sock.close()
            self.requests = {key: work for key, work in self.requests.items() if key[0] is not sock}

    def on_control(self, control, _, kind, __, aux, payload):
        if kind == CONFIG:
            config = json.loads(payload)
            self.credit = config["limits"]["credit"]
            try:
                self.state = start(config)
            except Exception as why:
                send(control, 0, START_FAILED, payload=repr(why).encode())
                sys.exit(1)
            send(control, 0, READY)
        elif kind == ATTACH:  # if it replaces a socket, the gateway closes the old one
            self.sockets[socket.socket(fileno=self.descriptors.pop(0))] = bytearray()
        elif kind == PING:
            send(control, 0, PONG, aux=aux)
        elif kind == DRAIN:  # requests that have not been started go to another worker
            self.draining = True
            queue = [key for key, (request, _) in self.requests.items() if not request.started]
            for sock in self.sockets.keys() - {control}:
                slots = [slot for of, slot in queue if of is sock and self.requests.pop((of, slot))]
                send(sock, 0, GOAWAY, payload=struct.pack(f"<{len(slots)}I", *slots))
        elif kind == STOP:
            sys.exit()

    def on_data(self, sock, slot, kind, flags, aux, payload):
        key = sock, slot
        request, work = self.requests.get(key, (None, None))
        if kind == REQUEST and slot and not request and aux <= len(payload):
            if self.draining:  # the request arrived after GOAWAY was sent
                return send(*key, ERROR, RETRY_SAFE, REFUSED)
            request, payload = Request(key, json.loads(payload[:aux]), self.credit), payload[aux:]
            work = request.serve(self)
            self.requests[key] = request, work
        elif HELLO <= kind <= RESOLVED or kind in (REQUEST, RESPONSE, MESSAGE, GOAWAY) or kind == WINDOW and not aux:
            raise ValueError(f"a frame of kind {kind} that a gateway does not send")
        elif kind == ERROR:
            print(f"the gateway gave up slot {slot}: {payload.decode()}", flush=True)  # becomes a log line
            self.requests.pop(key, None)
        elif kind not in (DATA, TRAILERS, WINDOW) and self.requests.pop(key, None):
            send(*key, ERROR, aux=CANCELLED if kind == CANCEL else UNSUPPORTED)
        if key not in self.requests:
            return  # its response has ended
        if kind == WINDOW:
            request.credit += aux
        else:
            request.ended = kind == TRAILERS or bool(flags & END_STREAM)
            if payload and kind != TRAILERS:
                request.pieces.append(payload)
            if payload and kind == DATA:  # CONFIG's `body_bytes` bounds the waiting bytes
                send(*key, WINDOW, aux=len(payload))
        if next(work, "over") == "over":
            del self.requests[key]


if __name__ == "__main__":
    Worker(socket.socket(fileno=3)).run()
