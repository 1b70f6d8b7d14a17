#!/usr/bin/env python3
"""Holds worker.py against a directory of vectors: `python3 -B vectors.py ../../protocol/vectors`.

Every frame of good.txt must be read as its description there says. Every frame of bad.txt must be refused: some
by the frame reader (FRAMING), the rest where kinds are told apart; a data socket then says ERROR and ends.
"""
import json
import pathlib
import re
import socket
import sys

import worker

FRAMING = {"len-beyond-limit", "extensions-beyond-frame", "extension-cut-off", "extension-critical-unknown"}
NAMES = ("HELLO CONFIG READY START_FAILED ATTACH LOG PING PONG DRAIN STOP RESOLVE RESOLVED "
         "REQUEST RESPONSE DATA TRAILERS WINDOW MESSAGE CANCEL ERROR GOAWAY").split()
KINDS = {getattr(worker, name): name for name in NAMES}


def read(path):
    """The vectors of a file: (name, bytes, description)."""
    lines = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    return [(name, bytes.fromhex(data), said) for name, data, said in zip(lines[::3], lines[1::3], lines[2::3])]


def describe(frame):
    """How a description of this frame begins."""
    slot, kind, flags, aux, _ = frame
    words = [KINDS.get(kind, "UNKNOWN"), f"stream={slot}"]
    words += ["END_STREAM"] if flags & worker.END_STREAM else []
    words += ["RETRY_SAFE"] if flags & worker.RETRY_SAFE else []
    words += [f"aux={aux}"] if aux else []
    words += [f"kind={kind}"] if kind not in KINDS else []
    return " ".join(words)


def check_good(name, data, description):
    for cut in range(len(data)):
        assert not list(worker.frames(bytearray(data[:cut]), worker.CONTROL_LIMIT)), f"{name}: read before its end"
    frame, = worker.frames(bytearray(data), worker.CONTROL_LIMIT)
    said = describe(frame)
    assert f"{description} ".startswith(f"{said} "), f"{name}: {said}"
    _, kind, _, aux, payload = frame
    head_length = aux if kind in (worker.REQUEST, worker.RESPONSE) else 0
    text = re.search(r'(\d+)B"(.*)"$', description)  # 8B"HRTH\x01\x01\x02\x00"
    if text:
        body = text[2].encode().decode("unicode_escape").encode("latin-1")
        assert (int(text[1]), body) == (len(body), payload[head_length:]), f"{name}: {frame}"
    structure = re.search(r"(?<= )(?:head=)?([\[{].*[\]}])(?= body=|$)", description)
    if structure and "messagepack" not in name:
        head = payload[:head_length or None]
        assert json.loads(head) == json.loads(structure[1]), f"{name}: {head}"


def check_bad(name, data):
    try:
        list(worker.frames(bytearray(data), worker.DATA_LIMIT))
        assert name not in FRAMING, f"{name}: read"
    except ValueError as why:
        assert name in FRAMING, f"{name}: {why}"
    (supervisor, control), (gateway, end) = socket.socketpair(), socket.socketpair()
    with supervisor, control, gateway:
        subject = worker.Worker(control)
        subject.sockets[end] = bytearray()
        gateway.settimeout(5)
        gateway.sendall(data)
        subject.receive(end)
        (slot, kind, _, aux, _), = worker.frames(bytearray(gateway.recv(65_536)), worker.DATA_LIMIT)
        assert (slot, kind, aux) == (0, worker.ERROR, worker.PROTOCOL), name
        assert end not in subject.sockets and gateway.recv(1) == b"", name


if __name__ == "__main__":
    directory = pathlib.Path(sys.argv[1])
    good, bad = read(directory / "good.txt"), read(directory / "bad.txt")
    for vector in good:
        check_good(*vector)
    for name, data, _ in bad:
        check_bad(name, data)
    assert FRAMING <= {name for name, _, _ in bad}
    print(f"{len(good)} read, {len(bad)} refused")
