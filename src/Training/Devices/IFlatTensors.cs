using MLDistributed.Collectives;
using static TorchSharp.torch;

namespace MLDistributed.Training.Devices;

/// <summary>The flat parameters and gradients as tensors on the rank's device, and their way to and from the host's memory, where checkpoints and commits are made of them.</summary>
internal interface IFlatTensors : IDisposable
{
    Tensor Parameters { get; }

    Tensor Gradients { get; }

    /// <summary>Whether these are on another device than the memory in which the ranks meet.</summary>
    bool IsMirrored { get; }

    /// <summary>Whether the update is made on the device too: then nothing of a step is read before it has to be, as a read waits for all that is queued there.</summary>
    bool StaysOnDevice { get; }

    /// <summary>What of the host's memory is copied from and to the device, each as long as the parameters: worth being page-locked.</summary>
    IReadOnlyList<nint> Staging { get; }

    /// <summary>After backward of a step's last part: gradients to where the ranks meet.</summary>
    void PushGradients();

    /// <summary>After the update: parameters from where the ranks have them.</summary>
    void PullParameters();

    /// <summary>Before parameters and optimizer state are read in the host's memory. All of a host's ranks call it together.</summary>
    void ToHost();

    /// <summary>Before the weights that the job is about, parameters or their average, are read in the host's memory. All of a host's ranks call it together.</summary>
    void WeightsToHost();

    /// <summary>After parameters and optimizer state were written to the host's memory.</summary>
    void FromHost();

    /// <summary>Puts a slice of the averaged parameters where the parameters are, or back. Where an average is kept.</summary>
    void SwapAverage(Shard slice);
}
