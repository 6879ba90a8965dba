using System.Globalization;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>The tensors of somebody's encoder by the names that ours have, whatever model they were a part of.</summary>
internal static class EncoderTensors
{
    private static readonly string[] s_prefixes = ["bert.", "model.", "0.auto_model."];

    /// <summary>Renames: without the name of the model that the encoder is a part of, and with today's names of norms. Heads are left out.</summary>
    public static Dictionary<string, NamedTensor> Renamed(IEnumerable<NamedTensor> tensors)
    {
        var renamed = new Dictionary<string, NamedTensor>(StringComparer.Ordinal);
        foreach (var tensor in tensors)
        {
            var name = tensor.Name;
            foreach (var prefix in s_prefixes)
                name = name.StartsWith(prefix, StringComparison.Ordinal) ? name[prefix.Length..] : name;
            if (name.EndsWith("LayerNorm.gamma", StringComparison.Ordinal) || name.EndsWith("LayerNorm.beta", StringComparison.Ordinal))
                name = name.Replace(".gamma", ".weight", StringComparison.Ordinal).Replace(".beta", ".bias", StringComparison.Ordinal);
            if (name.StartsWith("embeddings.", StringComparison.Ordinal) || name.StartsWith("encoder.layer.", StringComparison.Ordinal) || name.StartsWith("pooler.", StringComparison.Ordinal))
                renamed[name] = tensor with { Name = name };
        }

        return renamed;
    }

    /// <summary>How many layers there are.</summary>
    public static int Layers(IEnumerable<string> names) => names.Where(n => n.StartsWith("encoder.layer.", StringComparison.Ordinal))
        .Select(n => int.TryParse(n.Split('.')[2], NumberStyles.None, CultureInfo.InvariantCulture, out var layer) ? layer + 1 : 0).DefaultIfEmpty(0).Max();

    /// <summary>A table's rows and columns.</summary>
    /// <exception cref="FormatException">It is missing, or no table.</exception>
    public static (int Rows, int Columns) Table(IReadOnlyDictionary<string, NamedTensor> tensors, string name, string source) =>
        tensors.GetValueOrDefault(name)?.Shape is [> 0 and <= int.MaxValue and var rows, > 0 and <= int.MaxValue and var columns] ? ((int)rows, (int)columns)
        : throw new FormatException($"{source} has no table \"{name}\", expected the weights of an encoder of BERT's kind, by Hugging Face's names.");
}
