"""PyTorch eager on the models of bench/engine, on one device: its side of eng/gpu-check.sh.

    python3 gpu.py mlp|tiny|cnn|transformer cuda|cpu Float32|TensorFloat32|BFloat16 BATCH SECONDS

SGD with momentum 0.9, as it is written in tutorials; data resident on the device. Prints "speed SAMPLES_A_SECOND".
"""
import contextlib
import sys
import time

import torch
from torch import nn

import ddp


def main():
    name, device, precision, batch, seconds = sys.argv[1:4] + [int(sys.argv[4]), float(sys.argv[5])]
    torch.manual_seed(1)
    network, inputs, tokens, _ = ddp.MODELS[name]
    allow = precision == "TensorFloat32"
    torch.backends.cuda.matmul.allow_tf32 = allow
    torch.backends.cudnn.allow_tf32 = allow
    model = network().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    features = (torch.randint(0, ddp.VOCABULARY, (ddp.ROWS, inputs)) if tokens else torch.randn(ddp.ROWS, inputs)).to(device)
    labels = torch.randint(0, 10, (ddp.ROWS,)).to(device)
    loss_function = nn.CrossEntropyLoss()
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def autocast():
        return torch.autocast(device, dtype=torch.bfloat16) if precision == "BFloat16" else contextlib.nullcontext()

    def train(seconds):
        """Trains so long; steps a second."""
        wait()
        started, steps = time.perf_counter(), 0
        while True:
            for _ in range(8):
                at = steps * batch % (ddp.ROWS - batch)
                optimizer.zero_grad()
                with autocast():
                    loss = loss_function(model(features[at:at + batch]), labels[at:at + batch])
                loss.backward()
                optimizer.step()
                steps += 1
            if time.perf_counter() - started >= seconds:
                wait()
                return steps / (time.perf_counter() - started)

    train(seconds / 3)
    print("speed", train(seconds) * batch, flush=True)


if __name__ == "__main__":
    main()
