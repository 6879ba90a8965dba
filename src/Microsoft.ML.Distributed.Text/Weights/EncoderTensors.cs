using System.Globalization;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>The tensors of somebody's encoder by the names that ours have, whatever model they were a part of.</summary>
internal static class EncoderTensors
{
    private static readonly string[] s_prefixes = ["bert.", "roberta.", "model.", "0.auto_model."];

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

    /// <summary>
    /// RoBERTa's embeddings as BERT's: padding is token 0, positions begin at 0 and not behind the padding's id, and both segments are its one.
    /// </summary>
    /// <param name="tensors">The encoder's, changed.</param>
    /// <param name="padding">The padding's id.</param>
    /// <param name="source">What they come from.</param>
    /// <exception cref="FormatException">A table is missing, or too small.</exception>
    public static void MakeBert(Dictionary<string, NamedTensor> tensors, int padding, string source)
    {
        var ((words, width), (positions, _)) = (Table(tensors, TextTensors.Words, source), Table(tensors, TextTensors.Positions, source));
        if (words <= padding || positions <= padding + 1 || Table(tensors, TextTensors.Segments, source).Columns != width)
            throw new FormatException($"{source} has {words:N0} tokens and {positions:N0} positions, expected more than the padding's id, {padding}, and segments as wide. Take the weights of an encoder of RoBERTa's kind.");
        float[] embeddings = [.. tensors[TextTensors.Words].Values];
        for (var i = 0; i < width; i++)
            (embeddings[i], embeddings[(padding * width) + i]) = (embeddings[(padding * width) + i], embeddings[i]);
        var places = tensors[TextTensors.Positions];
        var segment = tensors[TextTensors.Segments].Values[..width];
        Put(TextTensors.Words, words, embeddings);
        Put(TextTensors.Positions, positions - padding - 1, places.Values[((padding + 1) * (int)places.Shape[1])..]);
        Put(TextTensors.Segments, 2, [.. segment, .. segment]);

        void Put(string name, int rows, float[] values) => tensors[name] = new NamedTensor(name, [rows, tensors[name].Shape[1]], values);
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
