using MLDistributed.Collectives;
using MLDistributed.Training.Data;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// Any TorchSharp module from rows of features to rows of outputs. Parameters that are tied are kept once, frozen ones stay
/// the module's own. One that a step does not use has a gradient of zero there: momentum and weight decay go on, as in
/// libtorch where gradients are zeroed and not dropped. Its random numbers are those of seed, step and rows.
/// </summary>
internal sealed unsafe class TorchModuleSource : IModuleSource
{
    // libtorch has one random generator a process.
    private static readonly Lock s_generator = new();
    private readonly nn.Module<Tensor, Tensor> _module;
    private readonly ulong _seed;
    private readonly List<(FlatTensor Place, TorchSharp.Modules.Parameter Parameter)> _parameters = [];

    /// <param name="make">Makes the module; called once, with the generator seeded.</param>
    /// <param name="seed">Decides its first parameters.</param>
    /// <exception cref="NotSupportedException">The module keeps running statistics.</exception>
    public TorchModuleSource(Func<nn.Module<Tensor, Tensor>> make, ulong seed)
    {
        _seed = seed;
        lock (s_generator)
        {
            random.manual_seed((long)seed);
            _module = make();
        }

        if (_module.named_buffers().Select(b => b.name).FirstOrDefault() is { } buffer)
        {
            _module.Dispose();
            throw new NotSupportedException($"Module has a buffer \"{buffer}\", expected none: running statistics of modules are not joined over ranks. Use layer or group normalisation instead of batch normalisation.");
        }

        var seen = new HashSet<nint>();
        var end = 0L;
        foreach (var (name, parameter) in _module.named_parameters())
        {
            if (!parameter.requires_grad || !seen.Add((nint)TorchMemory.Data(parameter)))
                continue;
            var place = new FlatTensor(name, parameter.shape, end, Decays: parameter.dim() > 1);
            _parameters.Add((place, parameter));
            end += place.Length;
        }

        Layout = new FlatLayout([.. _parameters.Select(p => p.Place)], []);
    }

    public FlatLayout Layout { get; }

    public void Initialize(float* parameters)
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        foreach (var (place, parameter) in _parameters)
            TorchMemory.Wrap(parameters + place.Start, place.Length).copy_(parameter.view(-1));
    }

    public ITrainedModule Create(Tensor parameters, Tensor gradients, long maxRows, ICollective collective, Action<long>? gradientsReady)
    {
        var kept = new List<Tensor>();
        using var scope = NewDisposeScope();
        _module.to(parameters.device);
        foreach (var (place, parameter) in _parameters)
        {
            using (no_grad())
                parameter.set_(parameters.narrow(0, place.Start, place.Length).view(place.Shape));
            var gradient = gradients.narrow(0, place.Start, place.Length).view(place.Shape).DetachFromDisposeScope();
            kept.Add(gradient);
            parameter.grad = gradient;
        }

        return new TrainedModule(_module, _seed, kept);
    }

    private sealed class TrainedModule(nn.Module<Tensor, Tensor> module, ulong seed, List<Tensor> kept) : ITrainedModule
    {
        public float[] Buffers => [];

        public Tensor Forward(Batch batch, long step)
        {
            module.train();
            random.manual_seed((long)CounterRandom.Hash(CounterRandom.Hash(seed, (ulong)step), (ulong)batch.Rows.Start));
            return module.call(batch.Features);
        }

        public void Backward(Tensor loss, int globalRows) => loss.backward();

        public Tensor Predict(Tensor features)
        {
            module.eval();
            return module.call(features);
        }

        public void Dispose()
        {
            kept.ForEach(t => t.Dispose());
            module.Dispose();
        }
    }
}
