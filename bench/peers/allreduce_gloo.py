"""torch.distributed.all_reduce over Gloo, two processes, float32: microseconds, mean and median.

    python3 allreduce_gloo.py BYTES SECONDS
"""
import os
import statistics
import sys
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run(rank, count, seconds, rendezvous, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + rendezvous, rank=rank, world_size=2)
    values = torch.zeros(count)
    stop = torch.zeros(1)
    times = []
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
        results.put((statistics.mean(times) * 1e6, statistics.median(times) * 1e6))
    # Gloo aborts a process whose peer leaves first.
    dist.barrier()
    dist.destroy_process_group()


def main():
    count, seconds = int(sys.argv[1]) // 4, float(sys.argv[2])
    results = mp.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(run, (count, seconds, os.path.join(folder, "rendezvous"), results), nprocs=2)
    mean, median = results.get()
    print(f"{mean:.3f} {median:.3f}")


if __name__ == "__main__":
    main()
