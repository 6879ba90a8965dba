using System.Reflection;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>A call of a layer of several inputs or outputs, over steps.</summary>
/// <param name="Layer">The layer.</param>
/// <param name="Name">Its path in the module.</param>
/// <param name="Method">The method that was called.</param>
/// <param name="Arguments">The layer, then what it was given.</param>
/// <param name="Outputs">What it returned.</param>
/// <param name="Known">The value that a tensor is.</param>
/// <param name="AddHidden">Adds a step whose result is no tensor of the module's; returns its number.</param>
internal sealed record StepCall(nn.Module Layer, string Name, MethodBase Method, object?[] Arguments, Tensor[] Outputs, Func<Tensor, TraceValue> Known, Func<int[], Func<TraceWriter, string[], string>, int> AddHidden)
{
    public Dictionary<string, Tensor> Parameters { get; } = TraceWriter.NamedTensors(Layer);

    /// <summary>Of attention, the steps of query, key and value.</summary>
    public long[] Steps { get; } = [.. Enumerable.Range(1, 3).Select(i => Layer is TorchSharp.Modules.MultiheadAttention ? i : 1).Select(i => ((Tensor)Arguments[i]!).shape[0])];

    /// <summary>An argument that need not be there; null: it is not.</summary>
    public TraceValue? Value(int argument) => argument < Arguments.Length && Arguments[argument] is Tensor tensor ? Known(tensor) : null;

    /// <exception cref="NotTracedException">It is none.</exception>
    public TraceValue Rows(int argument, int rowAxis)
    {
        var value = Arguments[argument] is Tensor tensor ? Known(tensor) : throw new NotTracedException("is called without a value");
        if (value.Layout is not { Fold: 1 } layout || layout.RowAxis != rowAxis)
            throw new NotTracedException($"takes [{string.Join(", ", value.Tensor.shape)}], whose dimension {rowAxis} does not count rows, expected [{(rowAxis == 0 ? "rows, steps, numbers" : "steps, rows, numbers], as transpose(0, 1) makes it of [rows, steps, numbers")}]");
        return value;
    }

    /// <summary>A parameter with the job's values.</summary>
    public Tensor Parameter(TraceWriter writer, string name) => writer.Current(Name.Length == 0 ? name : $"{Name}.{name}");
}
