"""Writes the TorchScript and ONNX files beside it, as a user of Python would: /usr/bin/python3 make.py, with Debian's python3-torch 1.13.1."""
import os
import zipfile

import torch
from torch import nn

os.chdir(os.path.dirname(os.path.abspath(__file__)))
torch.manual_seed(1)


class Dense(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.body, self.norm, self.drop, self.head = nn.Linear(inputs, 32), nn.LayerNorm(32), nn.Dropout(0.1), nn.Linear(32, outputs)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.norm(self.body(x)))))


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.SiLU(), nn.AvgPool2d(2))
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = self.features(x.view(-1, 1, 8, 8))
        return self.head(x.view(x.size(0), -1))


class Steps(nn.Module):
    """A layer over three dimensions, parts, constants, and means."""

    def __init__(self):
        super().__init__()
        self.each, self.head = nn.Linear(8, 6), nn.Linear(12, 10)
        self.places = nn.Parameter(torch.randn(8, 6) / 10)
        self.register_buffer("scale", torch.full((6,), 0.5))

    def forward(self, x):
        x = torch.tanh(self.each(x.view(-1, 8, 8)) * self.scale + self.places)
        return self.head(torch.cat([x[:, 1:].mean(1), x.amax(1)], 1)) + 0.25


class Constant(nn.Module):
    def forward(self, x):
        return x[:, :10] * 2.0


class Throwing(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(9, 10)

    def forward(self, x):
        return self.head(x)


class Smooth(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return nn.functional.gelu(self.head(x))


def export(module, rows, name, **options):
    torch.onnx.export(module.eval(), rows, name, **{"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False, "opset_version": 17, **options})


def change(source, target, name, content):
    """What no PyTorch here can write: another entry in such a file. None of them is compressed."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for entry in before.infolist():
            after.writestr(zipfile.ZipInfo(entry.filename), content if entry.filename.endswith(name) else before.read(entry))


digits = torch.randn(2, 64)
dense, steps, convolutional, smooth = Dense(64, 10), Steps(), Convolutional(), Smooth()
torch.jit.script(dense).save("dense.pt")
export(dense, digits, "dense.onnx", input_names=["x"], dynamic_axes={"x": {0: "n"}})
torch.jit.script(steps).save("steps.pt")
export(steps, digits, "steps.onnx", opset_version=13)
export(steps, digits, "steps-folded.onnx", training=torch.onnx.TrainingMode.EVAL, do_constant_folding=True)
torch.jit.trace(convolutional.eval(), digits).save("convolutional.pt")
export(convolutional, digits, "convolutional.onnx")
export(convolutional, digits, "convolutional-dynamic.onnx", input_names=["x"], dynamic_axes={"x": {0: "n"}})
torch.jit.script(convolutional.train()).save("statistics.pt")
torch.jit.script(smooth).save("smooth.pt")
export(smooth, digits, "smooth.onnx")
number = Dense(10, 1)
torch.jit.script(number).save("number.pt")
export(number, torch.randn(2, 10), "number.onnx")
torch.jit.script(Constant()).save("constant.pt")
torch.jit.script(Throwing()).save("throwing.pt")
torch.save(dense.state_dict(), "state.pt")
change("dense.pt", "newer.pt", "/version", "99\n")
change("dense.pt", "damaged.pt", "/data.pkl", "no pickle")
change("dense.pt", "future.pt", "/code/__torch__.py", """class Dense(Module):
  __parameters__ = []
  __buffers__ = []
  training : bool
  def forward(self: __torch__.Dense, x: Tensor) -> Tensor:
    return torch.of_the_future(x)
""")
