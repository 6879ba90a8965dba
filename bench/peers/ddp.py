"""PyTorch DistributedDataParallel over Gloo on the models of bench/engine: samples/s of all processes together.

    python3 ddp.py mlp|tiny PROCESSES BATCH_PER_PROCESS [--unconnected]

One thread a process, SGD with momentum 0.9, random data resident in memory, the first fifth of the steps not counted.
"""
import os
import sys
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

MODELS = {
    "mlp": ([784, 1024, 1024, 10], 300),
    "tiny": ([64, 128, 10], 6000),
}
ROWS = 4096


def network(sizes):
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def run(rank, name, processes, batch, connected, rendezvous, results):
    torch.set_num_threads(1)
    torch.manual_seed(1)
    sizes, steps = MODELS[name]
    model = network(sizes)
    if connected:
        dist.init_process_group("gloo", init_method="file://" + rendezvous, rank=rank, world_size=processes)
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    features = torch.randn(ROWS, sizes[0])
    labels = torch.randint(0, sizes[-1], (ROWS,))
    loss_function = nn.CrossEntropyLoss()
    started = 0.0
    for step in range(-steps // 4, steps):
        if step == 0:
            started = time.perf_counter()
        at = step * batch % (ROWS - batch)
        optimizer.zero_grad(set_to_none=False)
        loss_function(model(features[at:at + batch]), labels[at:at + batch]).backward()
        optimizer.step()
    results.put(steps * batch / (time.perf_counter() - started))


def main():
    name, processes, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    connected = "--unconnected" not in sys.argv and processes > 1
    results = mp.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(run, (name, processes, batch, connected, os.path.join(folder, "rendezvous"), results), nprocs=processes)
    print(round(sum(results.get() for _ in range(processes))))


if __name__ == "__main__":
    main()
