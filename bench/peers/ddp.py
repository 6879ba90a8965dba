"""PyTorch DistributedDataParallel over Gloo on the models of bench/engine: one of its processes.

    python3 ddp.py mlp|tiny|cnn|transformer BATCH RANK PROCESSES RENDEZVOUS_FILE

One thread a process, SGD with momentum 0.9, random data resident in memory. Trains for a second or two whenever it reads a
line, and prints its samples/s.
"""
import sys
import time

import torch
import torch.distributed as dist
from torch import nn

ROWS = 4096
VOCABULARY = 8000


def mlp(*sizes):
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def cnn():
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)), nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, 256)
        self.places = nn.Embedding(64, 256)
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(256, 4, 1024, dropout=0), 4)
        self.head = nn.Linear(256, 10)

    def forward(self, x):
        tokens = x.t()
        places = torch.arange(tokens.shape[0], device=x.device).unsqueeze(1)
        return self.head(self.layers(self.tokens(tokens) + self.places(places)).mean(0))


# Network, features, whether they are tokens, steps that are measured.
MODELS = {
    "mlp": (lambda: mlp(784, 1024, 1024, 10), 784, False, 75),
    "tiny": (lambda: mlp(64, 128, 10), 64, False, 2000),
    "cnn": (cnn, 784, False, 18),
    "transformer": (Encoder, 64, True, 8),
}


def main():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    name, batch, rank, processes, rendezvous = sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]
    network, inputs, tokens, steps = MODELS[name]
    model = network()
    if processes > 1:
        dist.init_process_group("gloo", init_method="file://" + rendezvous, rank=rank, world_size=processes)
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    features = torch.randint(0, VOCABULARY, (ROWS, inputs)) if tokens else torch.randn(ROWS, inputs)
    labels = torch.randint(0, 10, (ROWS,))
    loss_function = nn.CrossEntropyLoss()
    if name == "tiny" and processes == 1:
        steps *= 4  # which are as much faster where nothing is sent

    def train(steps):
        for step in range(steps):
            at = step * batch % (ROWS - batch)
            optimizer.zero_grad(set_to_none=False)
            loss_function(model(features[at:at + batch]), labels[at:at + batch]).backward()
            optimizer.step()

    for _ in iter(sys.stdin.readline, ""):
        # Before and after what is measured some more, as bench/engine has it.
        train(steps // 6 + 1)
        started = time.perf_counter()
        train(steps)
        speed = steps * batch / (time.perf_counter() - started)
        train(steps // 6 + 1)
        print(speed, flush=True)


if __name__ == "__main__":
    main()
