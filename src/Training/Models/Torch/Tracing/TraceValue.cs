using MLDistributed.Training.Native;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>A tensor that was seen while a module was traced.</summary>
/// <param name="Number">Its number.</param>
/// <param name="Tensor">An alias of it.</param>
internal sealed unsafe record TraceValue(int Number, Tensor Tensor)
{
    /// <summary>How it lies in the graph; null: it is not of rows, or cannot be written.</summary>
    public RowLayout? Layout { get; init; }

    /// <summary>What made it, where that cannot be written.</summary>
    public string? Refusal { get; init; }

    /// <summary>How it comes of parameters alone; null: it does not.</summary>
    public OutsideValue? Outside { get; init; }

    /// <summary>Whether a tensor is this one, or another object for it.</summary>
    public bool Is(Tensor tensor) => TorchMemory.Data(tensor) == TorchMemory.Data(Tensor) && tensor.dtype == Tensor.dtype
        && tensor.shape.AsSpan().SequenceEqual(Tensor.shape) && tensor.stride().AsSpan().SequenceEqual(Tensor.stride());

    /// <summary>Whether a tensor is this one in another shape.</summary>
    public bool IsMemoryOf(Tensor tensor) => TorchMemory.Data(tensor) == TorchMemory.Data(Tensor) && tensor.dtype == Tensor.dtype
        && tensor.numel() == Tensor.numel() && tensor.is_contiguous() && Tensor.is_contiguous();
}
