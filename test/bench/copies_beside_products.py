#!/usr/bin/env python3
"""What copies over the host link and work of the device do to each other.

Needs PyTorch with a CUDA device. Prints, for products, for copies inside the
device and for nothing, how long one run takes without copies beside it, with
copies to the host, to the device, and both ways, and how fast these are. Each
is the best of three.
"""
import time

import torch

SIDE = 8192
COPY_BYTES = 256 * 2**20
INSIDE_ELEMENTS = 2**28

a = torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16)
b = torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16)
source = torch.randn(INSIDE_ELEMENTS, device="cuda", dtype=torch.bfloat16)
target = torch.empty_like(source)
host = [torch.empty(COPY_BYTES, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
device = [torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda") for _ in range(2)]
compute, out, back = (torch.cuda.Stream() for _ in range(3))


def seconds_of(work):
    for _ in range(20):
        work()
    torch.cuda.synchronize()
    begin = time.time()
    for _ in range(50):
        work()
    torch.cuda.synchronize()
    return (time.time() - begin) / 50


def timed(stream, work, runs):
    begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
    with torch.cuda.stream(stream):
        begin.record()
        for _ in range(runs):
            work()
        end.record()
    return begin, end


def run(work, runs, copies, to_host, to_device):
    """Microseconds of one run of `work`, and GB/s of either direction."""
    torch.cuda.synchronize()
    events = [timed(compute, work, runs)] if work else []
    moved = []
    if to_host:
        moved.append(timed(out, lambda: host[0].copy_(device[0], non_blocking=True), copies))
    if to_device:
        moved.append(timed(back, lambda: device[1].copy_(host[1], non_blocking=True), copies))
    torch.cuda.synchronize()
    each = [begin.elapsed_time(end) * 1000 / runs for begin, end in events]
    rates = [copies * COPY_BYTES / begin.elapsed_time(end) / 1e6 for begin, end in moved]
    return (each or [0.0])[0], rates


print(torch.cuda.get_device_name())
for name, work, runs in (
    (f"product of {SIDE} cubed", lambda: torch.matmul(a, b), 200),
    ("copy of 512 MiB inside the device", lambda: target.copy_(source), 800),
    ("nothing", None, 0),
):
    # Copies end shortly before the work does.
    copies = int(0.8 * runs * seconds_of(work) / 4.9e-3) if work else 40
    for label, ways in (("alone", (0, 0)), ("out", (1, 0)), ("back", (0, 1)), ("both", (1, 1)), ("alone", (0, 0))):
        us, rates = min(run(work, runs, max(1, copies), *ways) for _ in range(3))
        print(f"{name}, {label}: {us:.1f} us; copies at", *(f"{rate:.1f}" for rate in rates), "GB/s")
