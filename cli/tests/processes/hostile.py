#!/usr/bin/env python3
"""A worker that breaks the rules of the wire in the way that the request's path names; and answers a
request's trailers with a body of the same."""

import json
import os
import socket
import struct

HELLO, READY, ATTACH, CONFIG, LOG = 1, 3, 5, 2, 6
REQUEST, RESPONSE, DATA, TRAILERS, WINDOW, CANCEL, ERROR, GOAWAY = 32, 33, 34, 35, 36, 38, 39, 40
END = 1


def frame(kind, stream=0, flags=0, aux=0, payload=b""):
    return struct.pack("<IIBBHI", len(payload), stream, kind, flags, 0, aux) + payload


def response(stream, flags=END, body=b"fine", head=b'{"status":200}'):
    return frame(RESPONSE, stream, flags, len(head), head + body)


def act(what, sock, s, whole):
    send = sock.sendall
    if what == "give-back":  # the first of all workers does, the next one says what it got
        if os.path.exists("kept/given-back"):
            return send(response(s, body=b"whole" if whole else b"more to come"))
        open("kept/given-back", "w").close()
        return send(frame(GOAWAY, payload=struct.pack("<I", s)))
    if what == "ok":
        send(response(s))
    elif what == "truncated":
        send(response(s)[:7])
        os._exit(0)
    elif what == "exit-head":
        send(response(s)[:20])
        os._exit(0)
    elif what == "exit-body":
        send(response(s, flags=0))
        os._exit(0)
    elif what == "exit":
        os._exit(0)
    elif what == "giant":
        send(struct.pack("<IIBBHI", 0xFFFFFFFF, s, RESPONSE, END, 0, 14))
    elif what == "head-beyond-payload":
        send(frame(RESPONSE, s, END, 4000, b'{"status":200}'))
    elif what == "unknown":
        send(frame(200, s))
    elif what == "unknown-on-0":
        send(frame(200, 0) + response(s))
    elif what == "two":
        send(response(s) + response(s))
    elif what == "two-heads":
        send(response(s, flags=0) + response(s))
    elif what == "unasked":
        send(response(77))
    elif what == "trailers":
        send(response(s, flags=0) + frame(TRAILERS, s, END, payload=b'[["x-sum","42"]]'))
    elif what == "silent":
        pass
    elif what == "flood":
        send(response(s, flags=0))
        try:
            while True:
                send(frame(DATA, s, payload=b"f" * 65536))
        except OSError:
            pass
    elif what == "data-first":
        send(frame(DATA, s, payload=b"early"))
    elif what == "no-credit":
        send(frame(WINDOW, s, aux=0))
    elif what == "too-much-credit":
        send(frame(WINDOW, s, aux=0xFFFFFFFF) + frame(WINDOW, s, aux=0xFFFFFFFF))
    elif what == "bad-head":
        send(response(s, head=b"{"))
    elif what == "gateways-kind":
        send(frame(REQUEST, s, END, 2, b"{}"))
    elif what == "goaway-unknown":
        send(frame(GOAWAY, payload=struct.pack("<I", 99)))


def main():
    control = socket.socket(fileno=3)
    control.sendall(frame(HELLO, payload=b"HRTH\1\1\2\0"))
    buffers, descriptors = {control: b""}, []
    import select

    while True:
        for sock in select.select(list(buffers), [], [])[0]:
            try:
                data, fds, _, _ = socket.recv_fds(sock, 65536, 16)
            except OSError:
                data, fds = b"", []
            descriptors += fds
            if not data:
                if sock is control:
                    return
                del buffers[sock]
                continue
            buffers[sock] += data
            while len(buffers[sock]) >= 16:
                length, stream, kind, flags, _, aux = struct.unpack("<IIBBHI", buffers[sock][:16])
                if len(buffers[sock]) < 16 + length:
                    break
                payload = buffers[sock][16 : 16 + length]
                buffers[sock] = buffers[sock][16 + length :]
                if kind == CONFIG:
                    mode = json.loads(payload)["env"].get("MODE")
                    if mode == "talk":
                        control.sendall(frame(READY))
                        said = b'{"level":"info","message":"and on"}'
                        while True:
                            control.sendall(frame(LOG, aux=len(said), payload=said) * 1000)
                    if mode != "never":
                        control.sendall(frame(READY) * (2 if mode == "twice" else 1))
                elif kind == ATTACH:
                    buffers[socket.socket(fileno=descriptors.pop(0))] = b""
                elif kind == REQUEST:
                    act(json.loads(payload[:aux])["path"][1:], sock, stream, flags & END)
                elif kind == TRAILERS:
                    sock.sendall(response(stream, body=payload))
                elif kind == CANCEL:
                    sock.sendall(frame(ERROR, stream, aux=3))


main()
