namespace MLDistributed.Training.Models;

/// <summary>One thing that a module was seen to do: values by their numbers, of which 0 is the module's input.</summary>
/// <param name="Inputs">What it reads.</param>
/// <param name="Output">What it makes.</param>
/// <param name="Place">Where the module does it, in words.</param>
/// <param name="Write">Adds it to a graph.</param>
internal sealed record TraceStep(int[] Inputs, int Output, string Place, Func<TraceWriter, string[], string> Write);

/// <summary>A layer whose operator is being written.</summary>
/// <param name="Writer">The graph, and the module's tensors.</param>
/// <param name="Input">The name of its input.</param>
/// <param name="From">How its input lies in the graph.</param>
/// <param name="To">How its output does.</param>
internal readonly record struct LayerCall(TraceWriter Writer, string Input, RowLayout From, RowLayout To)
{
    /// <summary>Dimensions of the input in the graph.</summary>
    public int Rank => From.RowShape.Length + 1;
}
