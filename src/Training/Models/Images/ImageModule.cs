using Microsoft.ML.Distributed;
using MLDistributed.Protocol;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>An image network in TorchSharp: rows of pixels, normalised, to rows of outputs. Its tensors have torchvision's names.</summary>
internal sealed class ImageModule : nn.Module<Tensor, Tensor>, IParameterGroups
{
    private readonly ImageNetwork _network;
    private readonly Conv2d?[] _convolutions;
    private readonly BatchNorm2d?[] _norms;
    private readonly Linear _head;
    private readonly int[] _lastUse;
    private readonly Dictionary<BatchNorm, Func<Tensor, Tensor?>> _joined = new(ReferenceEqualityComparer.Instance);

    public ImageModule(ImageNetwork network)
        : base(nameof(ImageModule))
    {
        _network = network;
        var layers = network.Layers;
        (_convolutions, _norms, _lastUse) = (new Conv2d?[layers.Count], new BatchNorm2d?[layers.Count], new int[layers.Count + 1]);
        var head = layers[^1];
        _head = nn.Linear(head.Inputs, head.Outputs);
        var tree = new Part("");
        for (var i = 0; i < layers.Count; i++)
        {
            _lastUse[layers[i].Input] = i;
            if (layers[i].Operation == ImageOperation.Sum)
                _lastUse[layers[i].Other] = i;
            if (layers[i].Operation != ImageOperation.Convolution)
                continue;
            var convolution = _convolutions[i] = nn.Conv2d(layers[i].Inputs, layers[i].Outputs, layers[i].Kernel, stride: layers[i].Stride, padding: layers[i].Padding, bias: false);
            nn.init.kaiming_normal_(convolution.weight, mode: nn.init.FanInOut.FanOut, nonlinearity: nn.init.NonlinearityType.ReLU); // He et al. 2015, as torchvision begins
            _norms[i] = nn.BatchNorm2d(layers[i].Outputs);
            tree.Add(layers[i].Name, convolution);
            tree.Add(layers[i].Norm, _norms[i]!);
        }

        tree.Add(head.Name, _head);
        foreach (var (name, part) in tree.named_children())
            register_module(name, part);
        foreach (var frozen in _convolutions.Take(network.FrozenLayers).Concat<nn.Module?>(_norms.Take(network.FrozenLayers)))
            foreach (var parameter in frozen?.parameters() ?? [])
                parameter.requires_grad_(false);
    }

    /// <summary>Has something else compute a normalisation, while it returns not null.</summary>
    public void Join(BatchNorm norm, Func<Tensor, Tensor?> forward) => _joined[norm] = forward;

    /// <summary>Each stage that is trained, with a learning rate of its own: those behind it see more of the task.</summary>
    public IEnumerable<ParameterGroup> ConfigureOptimizer()
    {
        var (factor, stages) = (_network.Spec.StageRateFactor, _network.Stages);
        if (factor is 0 or 1)
            yield break;
        for (var stage = _network.Spec.FrozenStages; stage < stages.Count; stage++)
            yield return new ParameterGroup([.. _network.Layers.Where(l => l.Operation == ImageOperation.Convolution && l.Stage == stages[stage]).SelectMany(l => new[] { $"{l.Name}.weight", $"{l.Norm}.weight", $"{l.Norm}.bias" })])
            {
                LearningRateFactor = Math.Pow(factor, stages.Count - stage),
            };
    }

    public override Tensor forward(Tensor rows)
    {
        var spec = _network.Spec;
        var values = new Tensor[_network.Layers.Count + 1];
        values[0] = rows.view(-1, spec.Channels, spec.Height, spec.Width);
        for (var i = 0; i < _network.Layers.Count; i++)
        {
            var layer = _network.Layers[i];
            var input = values[layer.Input];
            values[i + 1] = layer.Operation switch
            {
                ImageOperation.Convolution => Convolve(i, input),
                ImageOperation.MaxPool => nn.functional.max_pool2d(input, layer.Kernel, layer.Stride, layer.Padding),
                ImageOperation.Sum => input.add(values[layer.Other]).relu_(),
                _ => _head.call(input.mean([2, 3])),
            };
            // What backward needs of it, libtorch keeps.
            for (var v = 0; v <= i; v++)
                if (_lastUse[v] == i)
                    values[v].Dispose();
        }

        return values[^1];
    }

    private Tensor Convolve(int layer, Tensor input)
    {
        using var sums = _convolutions[layer]!.call(input);
        var norm = _norms[layer]!;
        var normal = _joined.TryGetValue(norm, out var join) && join(sums) is { } joined ? joined : norm.call(sums);
        return _network.Layers[layer].IsRectified ? normal.relu_() : normal;
    }

    /// <summary>A name on the way to a layer's.</summary>
    private sealed class Part(string name) : nn.Module(name)
    {
        public void Add(string path, nn.Module layer)
        {
            var (first, rest) = path.Split('.', 2) is [var a, var b] ? (a, b) : (path, "");
            if (rest.Length == 0)
            {
                register_module(first, layer);
                return;
            }

            var known = named_children().FirstOrDefault(c => c.name == first).module as Part;
            if (known is null)
                register_module(first, known = new Part(first));
            known.Add(rest, layer);
        }
    }
}
