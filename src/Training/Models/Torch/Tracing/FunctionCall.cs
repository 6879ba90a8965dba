using System.Reflection;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>How a value is written: from the values of rows that it reads, in their order, to its own name.</summary>
/// <param name="Inputs">What it reads.</param>
/// <param name="Layout">How its tensor lies in the graph.</param>
/// <param name="Write">Adds it to a graph.</param>
internal sealed record Mapping(TraceValue[] Inputs, RowLayout Layout, Func<TraceWriter, string[], string> Write);

/// <summary>A call of one of TorchSharp's functions, some of whose arguments are values of rows.</summary>
/// <param name="method">The function.</param>
/// <param name="arguments">Its arguments, an instance method's tensor first.</param>
/// <param name="result">The tensor that is asked about, of those that it returned.</param>
/// <param name="known">The value that a tensor is; of no row: what it is outside of rows.</param>
internal sealed class FunctionCall(MethodBase method, object?[] arguments, Tensor result, Func<Tensor, TraceValue> known)
{
    private readonly string[] _names = [.. method.IsStatic ? Array.Empty<string>() : ["this"], .. method.GetParameters().Select(p => p.Name ?? "")];

    /// <summary>The function's name, without the mark of one that works in place.</summary>
    public string Name { get; } = method.Name.TrimEnd('_');

    /// <summary>Whether it changes its argument.</summary>
    public bool IsInPlace => method.Name.EndsWith('_') || Flag("inplace");

    public Tensor Result => result;

    public object?[] Arguments => arguments;

    /// <summary>The first argument as a value of rows.</summary>
    public TraceValue Input => Rows((Tensor)arguments[0]!);

    public TraceValue Known(Tensor tensor) => known(tensor);

    /// <exception cref="NotTracedException">It is none.</exception>
    public TraceValue Rows(Tensor tensor) => known(tensor) is { Layout: not null } value ? value : throw new NotTracedException("has an argument before a value of rows that is none");

    /// <summary>An argument by its name, or by one of several that releases of it have; null: it is not there, or null.</summary>
    public object? Argument(params string[] names) => names.Select(n => Array.IndexOf(_names, n)).Where(i => i >= 0).Select(i => arguments[i]).FirstOrDefault(a => a is not null);

    public double? Number(params string[] names) => NumberOf(Argument(names));

    public long? Integer(params string[] names) => Argument(names) is { } value ? Convert.ToInt64(value, System.Globalization.CultureInfo.InvariantCulture) : null;

    public bool Flag(params string[] names) => Argument(names) is true;

    /// <summary>Dimensions, given as one or as some.</summary>
    public long[]? Dimensions(params string[] names) => Argument(names) switch
    {
        null => null,
        long[] many => many,
        int[] many => [.. many.Select(d => (long)d)],
        long one => [one],
        int one => [one],
        System.Runtime.CompilerServices.ITuple tuple => [.. Enumerable.Range(0, tuple.Length).Select(i => Convert.ToInt64(tuple[i], System.Globalization.CultureInfo.InvariantCulture))],
        _ => throw new NotTracedException("names dimensions in a way that is not known"),
    };

    public static double? NumberOf(object? value) => value switch
    {
        Scalar scalar => scalar.ToDouble(),
        double or float or int or long or short or byte => Convert.ToDouble(value, System.Globalization.CultureInfo.InvariantCulture),
        _ => null,
    };

    /// <summary>A mapping from the first argument, of the result's own shape: of numbers, as which ids and truths are taken too.</summary>
    public Mapping Unary(Func<TraceWriter, string, string> write)
    {
        var (from, to) = (((Tensor)arguments[0]!).dtype, result.dtype);
        return AsItIs((writer, x) => Comparisons.FromNumbers(writer, write(writer, Comparisons.ToNumbers(writer, x, from)), to));
    }

    public Mapping Unary(string op, params Protocol.Onnx.AttributeProto[] attributes) => Unary((writer, x) => writer.Node(op, [x], attributes));

    /// <summary>A mapping that takes the argument's type, and gives the result's.</summary>
    public Mapping AsItIs(Func<TraceWriter, string, string> write) => new([Input], Input.Layout!.With(result.shape), (writer, names) => write(writer, names[0]));
}
