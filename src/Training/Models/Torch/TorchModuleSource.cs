using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// Any TorchSharp module from rows of features, as one tensor or as several, to rows of outputs. Parameters that are tied are kept once, frozen ones stay
/// the module's own. One that a step does not use has a gradient of zero there: momentum and weight decay go on, as in
/// libtorch where gradients are zeroed and not dropped. Batch normalisation has the statistics of all ranks' rows; dropout
/// layers are the same on any number of ranks; other random numbers are those of seed, step and the rank's first row.
/// </summary>
internal sealed unsafe class TorchModuleSource : IModuleSource
{
    // libtorch has one random generator a process.
    private static readonly Lock s_generator = new();
    private readonly nn.Module _module;
    private readonly ulong _seed;
    private readonly List<FlatTensor> _parameters = [];
    private readonly List<FlatTensor> _buffers = [];
    private readonly float[] _firstBuffers;
    private readonly bool _keepsFrozen;

    /// <param name="make">Makes the module; called once, with the generator seeded.</param>
    /// <param name="seed">Decides its first parameters.</param>
    /// <param name="keepsFrozen">Whether frozen parameters are among the job's tensors, and their normalisations frozen too.</param>
    /// <exception cref="UserModuleException">It throws, or has parameters that no job can train.</exception>
    public TorchModuleSource(Func<nn.Module> make, ulong seed, bool keepsFrozen = false)
    {
        (_seed, _keepsFrozen) = (seed, keepsFrozen);
        lock (s_generator)
        {
            random.manual_seed((long)seed);
            _module = make();
            FirstParameters.Fill(_module);
        }

        var groups = ParameterGroups.Of(_module);
        Tensors = new ModuleTensors(_module, keepsFrozen);
        foreach (var (name, parameter) in Tensors.Trained)
            _parameters.Add(Place(_parameters, name, parameter) with { Group = groups.GetValueOrDefault((nint)TorchMemory.Data(parameter)) });
        foreach (var (name, buffer) in Tensors.Buffers)
            _buffers.Add(Place(_buffers, name, buffer));
        Layout = new FlatLayout(_parameters, _buffers);
        _firstBuffers = new float[Layout.BufferLength];
        foreach (var ((_, buffer), place) in Tensors.Buffers.Zip(_buffers))
            new ReadOnlySpan<float>(TorchMemory.Data(buffer), (int)place.Length).CopyTo(_firstBuffers.AsSpan((int)place.Start));

        static FlatTensor Place(List<FlatTensor> before, string name, Tensor tensor) =>
            new(name, tensor.shape, before is [.., var last] ? last.Start + last.Length : 0, Decays: tensor.dim() > 1);
    }

    public FlatLayout Layout { get; }

    /// <summary>The module, before it has the job's memory.</summary>
    public nn.Module Module => _module;

    /// <summary>What a row is to the module.</summary>
    public ModuleRow Row { get; init; } = ModuleRow.One;

    public ModuleTensors Tensors { get; private set; }

    /// <summary>How the module is written as ONNX; null: nobody asked.</summary>
    public ModuleTrace? Trace { get; set; }

    /// <summary>Numbers that it must put out for a row; null: any.</summary>
    public int? OutputSize { get; init; }

    /// <summary>What its own metrics are called.</summary>
    public IReadOnlyList<string> OwnMetrics { get; set; } = [];

    /// <summary>Whether it computes statistics over all rows of a step.</summary>
    public bool JoinsRows => Tensors.BatchNorms.Count > 0;

    public ModelProto WriteOnnx(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors) =>
        (Trace ?? throw new InvalidOperationException("The module was not traced, expected it before the training. Report this as a defect of MLDistributed.")).Write(spec, _module, Tensors, tensors);

    public void Initialize(float* parameters)
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        foreach (var ((_, parameter), place) in Tensors.Trained.Zip(_parameters))
            TorchMemory.Wrap(parameters + place.Start, place.Length).copy_(parameter.view(-1));
    }

    public ITrainedModule Create(Tensor parameters, Tensor gradients, long maxRows, StatisticsJoin ranks, Action<long>? gradientsReady)
    {
        var kept = new List<Tensor>();
        using var scope = NewDisposeScope();
        if (parameters.device.type != DeviceType.CPU)
        {
            if (_module is ScriptNet script)
                script.Move(parameters.device);
            else
                _module.to(parameters.device);
            Tensors = new ModuleTensors(_module, _keepsFrozen); // others than before
        }

        foreach (var ((_, parameter), place) in Tensors.Trained.Zip(_parameters))
        {
            using (no_grad())
                parameter.set_(parameters.narrow(0, place.Start, place.Length).view(place.Shape));
            var gradient = gradients.narrow(0, place.Start, place.Length).view(place.Shape).DetachFromDisposeScope();
            kept.Add(gradient);
            parameter.grad = gradient;
        }

        return new TorchModule(_module, Row, Tensors, Layout, [.. _firstBuffers], new ForwardPass(_seed), ranks, kept) { OutputSize = OutputSize, OwnMetrics = OwnMetrics };
    }
}
