namespace MLDistributed.Protocol.Onnx;

/// <summary>
/// A graph of operators that this release knows, made ready to run for one row at a time, by managed code: no native runtime
/// sees a file that somebody else made. All shapes are known before the first row, and bounded.
/// </summary>
public sealed class OnnxProgram
{
    private readonly OnnxStep[] _steps;
    private readonly int[] _lengths;
    private readonly int _input;
    private readonly int[] _outputs;

    internal OnnxProgram(OnnxStep[] steps, int[] lengths, int input, int[] outputs) => (_steps, _lengths, _input, _outputs) = (steps, lengths, input, outputs);

    /// <summary>Features of a row.</summary>
    public int InputSize => _lengths[_input];

    /// <summary>Numbers of each output for a row; one, "score", but of a module whose outputs are columns.</summary>
    public IReadOnlyList<int> OutputSizes => Array.ConvertAll(_outputs, slot => _lengths[slot]);

    /// <summary>Numbers of all outputs for a row.</summary>
    public int OutputSize => OutputSizes.Sum();

    /// <summary>Reads a job's model.</summary>
    /// <param name="onnx">The bytes of its file, of which nothing is believed.</param>
    /// <param name="spec">The job.</param>
    /// <exception cref="FormatException">It is not one that our writer could have written for the job; names the node or tensor.</exception>
    public static OnnxProgram Read(byte[] onnx, JobSpec spec) => Of(OnnxGraphReader.Read(onnx, spec), spec);

    /// <summary>The program of a model of our own making.</summary>
    /// <exception cref="FormatException">An operator is not known, or does not fit what it is given; names the node.</exception>
    public static OnnxProgram Of(ModelProto model, int inputs, int outputs)
    {
        ArgumentNullException.ThrowIfNull(model);
        return new OnnxPlanner(model.Graph, inputs).Plan(outputs);
    }

    /// <summary>The program of a model of our own making, for a job.</summary>
    /// <exception cref="FormatException">An operator is not known, or does not fit what it is given; names the node.</exception>
    public static OnnxProgram Of(ModelProto model, JobSpec spec)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(spec);
        return Of(model.Graph, spec);
    }

    /// <summary>The shapes of a row's values in a model of our own making, by their names: of those whose first dimension counts rows, without it.</summary>
    /// <param name="model">The model.</param>
    /// <param name="spec">The job.</param>
    /// <param name="nodes">How many of its nodes are known and fit, up to the first that does not.</param>
    public static IReadOnlyDictionary<string, int[]> Shapes(ModelProto model, JobSpec spec, out int nodes)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(spec);
        return new OnnxPlanner(model.Graph, spec.Module.Kind!.ModelInputSize).Shapes(out nodes);
    }

    private static OnnxProgram Of(GraphProto graph, JobSpec spec)
    {
        var planner = new OnnxPlanner(graph, spec.Module.Kind!.ModelInputSize);
        return spec.Task == MlTask.Own ? planner.Plan(Enumerable.Range(0, spec.Module.Torch?.Outputs.Count ?? 0).Select(OnnxFrame.OutputName)) : planner.Plan(spec.Module.Kind!.OutputSize);
    }

    /// <summary>A runner with memory of its own, for one thread at a time: features in, the output "score" out, or outputs one behind the other.</summary>
    public OnnxRunner CreateRunner()
    {
        var values = Array.ConvertAll(_lengths, length => new float[length]);
        return (features, score) =>
        {
            features.CopyTo(values[_input]);
            foreach (var step in _steps)
                step.Run(values);
            foreach (var output in _outputs)
            {
                values[output].CopyTo(score);
                score = score[values[output].Length..];
            }
        };
    }
}

/// <summary>Runs a program for a row.</summary>
public delegate void OnnxRunner(ReadOnlySpan<float> features, Span<float> score);

/// <summary>One operator of a program: reads and writes the values of a row, by their numbers.</summary>
internal abstract class OnnxStep
{
    public abstract void Run(float[][] values);
}
