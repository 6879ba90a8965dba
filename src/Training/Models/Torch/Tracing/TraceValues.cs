using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>The tensors that were seen while a module was traced, in their order, with the number of each in the graph.</summary>
internal sealed class TraceValues : IDisposable
{
    private readonly List<TraceValue> _values = [];
    private int _numbers;

    /// <summary>A number that no tensor of the module's has: of what several results come of.</summary>
    public int NewNumber() => ++_numbers;

    /// <summary>Notes a tensor; the first one is the module's input, of number 0.</summary>
    public TraceValue Keep(Tensor tensor, Func<TraceValue, TraceValue> what)
    {
        // Its memory must not become another tensor's while it is looked for.
        var value = what(new TraceValue(_values.Count == 0 ? 0 : NewNumber(), tensor.alias().DetachFromDisposeScope()));
        _values.Add(value);
        return value;
    }

    /// <summary>What a tensor was when it was last seen: layers may work in place.</summary>
    public TraceValue? Known(Tensor tensor) => _values.FindLast(v => v.Is(tensor));

    public TraceValue KnownOrFixed(Tensor tensor) => Known(tensor) ?? Fixed(tensor);

    /// <summary>How a tensor comes of parameters alone; null: it does not.</summary>
    public OutsideValue? Outside(Tensor tensor) => Known(tensor) is { } known ? known.Outside : new FixedValue(tensor);

    /// <summary>What nobody was seen to make: it was there before, or is made of nothing.</summary>
    public static TraceValue Fixed(Tensor tensor) => new(-1, tensor) { Outside = new FixedValue(tensor) };

    /// <summary>The latest value of rows that is in the memory of a tensor of another shape.</summary>
    public TraceValue? InMemoryOf(Tensor tensor) => _values.FindLast(v => v.Layout is not null && v.IsMemoryOf(tensor));

    /// <summary>The values of whole rows in the module's own shape.</summary>
    public List<TraceValue> OfRows() => [.. _values.Where(v => v.Layout is { RowAxis: 0, Fold: 1 } && v.Tensor.dtype == ScalarType.Float32)];

    public void Dispose() => _values.ForEach(v => v.Tensor.Dispose());
}
