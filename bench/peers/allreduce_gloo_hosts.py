"""torch.distributed.all_reduce over Gloo between two hosts, float32: a line a size, bytes, and mean and median in microseconds.

    GLOO_SOCKET_IFNAME=eth0 python3 allreduce_gloo_hosts.py RANK MASTER:PORT SECONDS BYTES...
"""
import statistics
import sys
import time

import torch
import torch.distributed as dist

rank, master, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method="tcp://" + master, rank=rank, world_size=2)
stop = torch.zeros(1)
for size in map(int, sys.argv[4:]):
    values = torch.zeros(size // 4)
    dist.all_reduce(values)
    times = []
    stop[0] = 0
    end = time.perf_counter() + seconds
    while True:
        if rank == 0 and time.perf_counter() > end and times:
            stop[0] = 1
        dist.broadcast(stop, 0)
        if stop.item():
            break
        values.zero_()
        dist.barrier()
        started = time.perf_counter()
        dist.all_reduce(values)
        times.append(time.perf_counter() - started)
    if rank == 0:
        print(f"{size} {statistics.mean(times) * 1e6:.3f} {statistics.median(times) * 1e6:.3f}", flush=True)
dist.barrier()
