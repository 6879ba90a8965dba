using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Devices;

/// <summary>
/// Parameters, gradients and state are in memory that the ranks of a host share. On a CPU the tensors are that memory
/// itself. On a GPU they are copies: gradients go to it after backward, parameters come back after the update.
/// </summary>
internal sealed unsafe class HostTensors : IFlatTensors
{
    private readonly SharedSegment _segment;
    private readonly float* _average;
    private readonly Tensor _sharedParameters;
    private readonly Tensor _sharedGradients;

    /// <param name="device">Where the rank computes.</param>
    /// <param name="segment">The shared memory.</param>
    /// <param name="average">The parameters' average in it; null: none is kept.</param>
    public HostTensors(Device device, SharedSegment segment, float* average)
    {
        _segment = segment;
        _average = average;
        _sharedParameters = TorchMemory.Wrap(segment.Parameters, segment.Length).DetachFromDisposeScope();
        _sharedGradients = TorchMemory.Wrap(segment.Gradients(segment.Rank), segment.Length).DetachFromDisposeScope();
        IsMirrored = device.type != DeviceType.CPU;
        Parameters = IsMirrored ? _sharedParameters.to(device).DetachFromDisposeScope() : _sharedParameters;
        Gradients = IsMirrored ? zeros_like(Parameters).DetachFromDisposeScope() : _sharedGradients;
    }

    public Tensor Parameters { get; }

    public Tensor Gradients { get; }

    public bool IsMirrored { get; }

    public bool StaysOnDevice => false;

    public IReadOnlyList<nint> Staging => IsMirrored ? [(nint)_segment.Gradients(_segment.Rank), (nint)_segment.Parameters] : [];

    public void PushGradients()
    {
        if (!IsMirrored)
            return;
        using (no_grad())
        {
            _sharedGradients.copy_(Gradients);
            Gradients.zero_();
        }
    }

    public void PullParameters()
    {
        if (!IsMirrored)
            return;
        using var scope = NewDisposeScope();
        using (no_grad())
            Parameters.copy_(_sharedParameters);
    }

    // It is there.
    public void ToHost() { }

    public void WeightsToHost() { }

    public void FromHost() => PullParameters();

    public void SwapAverage(Shard slice)
    {
        var parameters = _segment.Parameters;
        for (var i = slice.Start; i < slice.End; i++)
            (parameters[i], _average[i]) = (_average[i], parameters[i]);
    }

    public void Dispose()
    {
        if (IsMirrored)
        {
            Parameters.Dispose();
            Gradients.Dispose();
        }

        _sharedParameters.Dispose();
        _sharedGradients.Dispose();
    }
}
