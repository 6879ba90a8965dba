using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Training.Native;
using static TorchSharp.torch;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Devices;

/// <summary>
/// Parameters, gradients and the optimizer's state are on the device and stay there. The host has room for parameters and
/// state, to which they are copied when a checkpoint, a commit or the best epoch wants them.
/// </summary>
internal sealed unsafe class DeviceTensors : IFlatTensors
{
    private readonly SharedSegment _host;
    private readonly List<(Tensor OnDevice, Tensor OnHost)> _copies = [];
    private readonly Tensor? _average;

    /// <param name="device">Where all of it is.</param>
    /// <param name="host">Room for parameters and state; parameters that are there are taken.</param>
    /// <param name="states">How many the optimizer has.</param>
    /// <param name="hasAverage">Whether the last of them is the parameters' average.</param>
    public DeviceTensors(Device device, SharedSegment host, int states, bool hasAverage)
    {
        _host = host;
        using var frozen = no_grad();
        Parameters = Place(host.Parameters);
        Gradients = zeros(host.Length, device: device).DetachFromDisposeScope();
        States = [.. Enumerable.Range(0, states).Select(i => Place(host.State(i)))];
        _average = hasAverage ? States[^1] : null;
        FromHost();

        Tensor Place(float* memory)
        {
            var onDevice = empty(host.Length, device: device).DetachFromDisposeScope();
            _copies.Add((onDevice, TorchMemory.Wrap(memory, host.Length).DetachFromDisposeScope()));
            return onDevice;
        }
    }

    public Tensor Parameters { get; }

    public Tensor Gradients { get; }

    /// <summary>What the optimizer keeps of each parameter, as the host's.</summary>
    public IReadOnlyList<Tensor> States { get; }

    public bool IsMirrored => true;

    public bool StaysOnDevice => true;

    public IReadOnlyList<nint> Staging => [(nint)_host.Parameters, .. Enumerable.Range(0, States.Count).Select(i => (nint)_host.State(i))];

    // The update is where they are.
    public void PushGradients() { }

    public void PullParameters() { }

    /// <summary>What a rank brings to the host for all: each has the same.</summary>
    public Shard SliceOf(int rank) => Shard.Of(_host.Length, rank, _host.WorldSize);

    public void ToHost()
    {
        using var scope = NewDisposeScope();
        var mine = SliceOf(_host.Rank);
        _copies.ForEach(c => Copy(c.OnDevice.narrow(0, mine.Start, mine.Count), c.OnHost.narrow(0, mine.Start, mine.Count)));
    }

    public void WeightsToHost()
    {
        var (onDevice, onHost) = _copies[_average is null ? 0 : ^1];
        Copy(onDevice, onHost);
    }

    public void FromHost() => _copies.ForEach(c => Copy(c.OnHost, c.OnDevice));

    public void SwapAverage(Shard slice)
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var parameters = Parameters.clone();
        Parameters.copy_(_average!);
        _average!.copy_(parameters);
    }

    public void Dispose()
    {
        foreach (var (onDevice, onHost) in _copies)
        {
            onDevice.Dispose();
            onHost.Dispose();
        }

        Gradients.Dispose();
    }

    // Device sync here.
    private static void Copy(Tensor from, Tensor to)
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        to.copy_(from);
    }
}
