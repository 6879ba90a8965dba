using System.Text;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;

namespace MLDistributed.Training.Models;

/// <summary>
/// First values of an encoder's tensors, each from the seed and its name alone: linear layers uniform with a deviation of
/// 1/sqrt(inputs), what is added to the stream less the more layers add to it, norms 1, biases 0, adapters 0 together.
/// </summary>
internal static class TextInitialization
{
    private const ulong Stream = 0x74657874;

    // Of a uniform number in [-1, 1].
    private static readonly double s_deviation = 1 / Math.Sqrt(3);

    // Which token it is tells more than where it stands.
    private const double PlaceToWord = 0.1;
    private const double WordDeviation = 0.02;

    /// <summary>The name of a layer's weight that an adapter is added to.</summary>
    public static string WeightOf(int layer, string target) => $"{TextTensors.InLayer(layer, TextTensors.Targets[target])}.weight";

    /// <summary>An adapter's A, rank x inputs.</summary>
    public static string Down(int layer, string target) => $"{TextTensors.InLayer(layer, TextTensors.Targets[target])}.lora_A.weight";

    /// <summary>An adapter's B, outputs x rank.</summary>
    public static string Up(int layer, string target) => $"{TextTensors.InLayer(layer, TextTensors.Targets[target])}.lora_B.weight";

    public static void Fill(TextSpec text, ulong seed, string name, long[] shape, Span<float> values)
    {
        var bound = Deviation(text, name, shape) / s_deviation;
        if (name == $"{TextTensors.Classifier}.bias" && text.OutputBias.Count > 0)
            text.OutputBias.ToArray().CopyTo(values);
        else if (shape.Length == 1)
            values.Fill(name.EndsWith("LayerNorm.weight", StringComparison.Ordinal) ? 1 : 0);
        else if (bound == 0)
            values.Clear();
        else
            FillUniform(CounterRandom.Hash(CounterRandom.Hash(seed, Stream), Key(name)), bound, values);
    }

    private static void FillUniform(ulong key, double bound, Span<float> values)
    {
        for (var i = 0; i < values.Length; i++)
            values[i] = (float)((2 * CounterRandom.Uniform(key, (ulong)i) - 1) * bound);
    }

    private static double Deviation(TextSpec text, string name, long[] shape) => name switch
    {
        TextTensors.Words => WordDeviation,
        TextTensors.Positions or TextTensors.Segments => WordDeviation * PlaceToWord,
        _ when name.EndsWith("lora_B.weight", StringComparison.Ordinal) => 0,
        _ when name.EndsWith("output.dense.weight", StringComparison.Ordinal) => 1 / Math.Sqrt(2.0 * text.Layers * shape[^1]),
        _ => 1 / Math.Sqrt(shape[^1]),
    };

    // FNV-1a: the same in every process.
    private static ulong Key(string name)
    {
        var hash = 0xcbf29ce484222325UL;
        foreach (var b in Encoding.UTF8.GetBytes(name))
            hash = (hash ^ b) * 0x100000001b3UL;
        return hash;
    }
}
