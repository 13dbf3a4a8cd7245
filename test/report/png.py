"""Pixels of a PNG file as browsers write it: 8 bits a channel, not interlaced."""

import struct
import zlib


def read_rows(path):
    """The rows of the image, each a list of (red, green, blue)."""
    data = open(path, "rb").read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", f"{path} is no PNG file"
    width = height = channels = 0
    packed = b""
    at = 8
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, color = struct.unpack(">IIBB", body[:10])
            assert depth == 8 and color in (2, 6) and body[12] == 0
            channels = 3 if color == 2 else 4
        elif kind == b"IDAT":
            packed += body
        at += 12 + length
    raw = zlib.decompress(packed)
    stride = width * channels
    above = bytearray(stride)
    rows = []
    for y in range(height):
        begin = y * (stride + 1)
        row = unfilter(raw[begin], raw[begin + 1 : begin + 1 + stride], above, channels)
        rows.append([tuple(row[x : x + 3]) for x in range(0, stride, channels)])
        above = row
    return rows


def unfilter(kind, line, above, channels):
    """One scan line with its filter undone (PNG specification, section 9)."""
    row = bytearray(line)
    for i in range(len(row)):
        left = row[i - channels] if i >= channels else 0
        up = above[i]
        corner = above[i - channels] if i >= channels else 0
        if kind == 1:
            add = left
        elif kind == 2:
            add = up
        elif kind == 3:
            add = (left + up) // 2
        elif kind == 4:
            guess = left + up - corner
            far = [abs(guess - left), abs(guess - up), abs(guess - corner)]
            add = (left, up, corner)[far.index(min(far))]
        else:
            add = 0
        row[i] = (row[i] + add) & 255
    return row
