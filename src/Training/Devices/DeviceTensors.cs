using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Training.Native;
using static TorchSharp.torch;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Devices;

/// <summary>
/// Parameters and gradients are on the device and stay there, and of the optimizer's state this rank's part. The host has room for parameters and
/// state, to which each of its ranks copies its part when a checkpoint, a commit or the best epoch wants them.
/// </summary>
internal sealed unsafe class DeviceTensors : IFlatTensors
{
    private readonly SharedMemoryCollective _host;
    private readonly SharedSegment _segment;
    private readonly Tensor _allParameters;
    private readonly Tensor _allGradients;
    private readonly Tensor _hostParameters;
    private readonly List<Tensor> _hostStates;
    private readonly bool _hasAverage;

    /// <param name="device">Where all of it is.</param>
    /// <param name="host">The ranks of this host, in memory with room for parameters and state; parameters that are there are taken.</param>
    /// <param name="shards">This rank's part.</param>
    /// <param name="states">How many the optimizer has.</param>
    /// <param name="hasAverage">Whether the last of them is the parameters' average.</param>
    public DeviceTensors(Device device, SharedMemoryCollective host, DeviceShards shards, int states, bool hasAverage)
    {
        (_host, _segment, Shards, _hasAverage) = (host, host.Segment, shards, hasAverage);
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        _allParameters = Zeros(shards.PaddedLength);
        _allGradients = Zeros(shards.PaddedLength);
        (Parameters, Gradients) = (Keep(_allParameters.narrow(0, 0, shards.Length)), Keep(_allGradients.narrow(0, 0, shards.Length)));
        (OwnParameters, OwnGradients) = (Keep(shards.Own(_allParameters)), Keep(shards.Own(_allGradients)));
        States = [.. Enumerable.Range(0, states).Select(_ => Zeros(shards.BlockCount, shards.PartLength))];
        _hostParameters = Keep(TorchMemory.Wrap(_segment.Parameters, shards.Length));
        _hostStates = [.. Enumerable.Range(0, states).Select(i => Keep(TorchMemory.Wrap(_segment.State(i), shards.Length)))];
        FromHost();

        Tensor Zeros(params long[] shape) => Keep(zeros(shape, device: device));

        static Tensor Keep(Tensor tensor) => tensor.DetachFromDisposeScope();
    }

    public Tensor Parameters { get; }

    public Tensor Gradients { get; }

    /// <summary>Those that this rank updates, [blocks, part].</summary>
    public Tensor OwnParameters { get; }

    /// <summary>As <see cref="OwnParameters"/>.</summary>
    public Tensor OwnGradients { get; }

    /// <summary>What the optimizer keeps, as <see cref="OwnParameters"/>.</summary>
    public IReadOnlyList<Tensor> States { get; }

    /// <summary>Which are this rank's own.</summary>
    public DeviceShards Shards { get; }

    /// <summary>What joins the ranks' parts; null: this rank has the whole.</summary>
    public DeviceExchange? Exchange { get; set; }

    public bool IsMirrored => true;

    public bool StaysOnDevice => true;

    public IReadOnlyList<nint> Staging => [(nint)_segment.Parameters, .. Enumerable.Range(0, States.Count).Select(i => (nint)_segment.State(i))];

    // The update is where they are.
    public void PushGradients() { }

    public void PullParameters() { }

    /// <summary>Where the gradients lie, those of nobody behind them.</summary>
    public float* GradientsAt => (float*)TorchMemory.Data(_allGradients);

    /// <summary>Zeroes them.</summary>
    public void ClearGradients() => _allGradients.zero_();

    /// <summary>Queues that each rank has the parameters that the others have updated. Nothing where this rank has the whole.</summary>
    public void Gather()
    {
        if (Shards.RankCount == 1)
            return;
        var parameters = (float*)TorchMemory.Data(_allParameters);
        for (var block = 0L; block < Shards.BlockCount; block++)
            Exchange!.AllGather((nint)(parameters + block * Shards.BlockLength), Shards.PartLength);
        Exchange!.Join();
    }

    public void ToHost()
    {
        Copy(OwnParameters, _hostParameters, toHost: true);
        for (var i = 0; i < States.Count; i++)
            Copy(States[i], _hostStates[i], toHost: true);
        Meet();
    }

    public void WeightsToHost()
    {
        Copy(_hasAverage ? States[^1] : OwnParameters, _hasAverage ? _hostStates[^1] : _hostParameters, toHost: true);
        Meet();
    }

    public void FromHost()
    {
        using var frozen = no_grad();
        Parameters.copy_(_hostParameters); // device sync here
        for (var i = 0; i < States.Count; i++)
            Copy(States[i], _hostStates[i], toHost: false);
    }

    public void SwapAverage(Shard slice)
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var parameters = OwnParameters.clone();
        OwnParameters.copy_(States[^1]);
        States[^1].copy_(parameters);
        Gather();
    }

    public void Dispose()
    {
        foreach (var tensor in (Tensor[])[OwnParameters, OwnGradients, Parameters, Gradients, _allParameters, _allGradients, .. States, _hostParameters, .. _hostStates])
            tensor.Dispose();
    }

    // This rank's parts, [blocks, part], to or from their places in a vector of the host's. Device sync here.
    private void Copy(Tensor own, Tensor host, bool toHost)
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        for (var block = 0L; block < Shards.BlockCount; block++)
        {
            var part = Shards.Part(block);
            var (onDevice, onHost) = (own.select(0, block).narrow(0, 0, part.Count), host.narrow(0, part.Start, part.Count));
            _ = toHost ? onHost.copy_(onDevice) : onDevice.copy_(onHost);
        }
    }

    // What one rank reads there, others have brought.
    private void Meet()
    {
        if (Shards.RankCount > 1)
            _host.Barrier();
    }
}
