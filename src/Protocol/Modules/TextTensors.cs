using MLDistributed.Protocol.Weights;

namespace MLDistributed.Protocol;

/// <summary>The tensors of a text encoder: names as in Hugging Face's BERT, weights of linear layers outputs x inputs.</summary>
public static class TextTensors
{
    /// <summary>The table of tokens, vocabulary x width.</summary>
    public const string Words = "embeddings.word_embeddings.weight";

    /// <summary>The table of positions, positions x width.</summary>
    public const string Positions = "embeddings.position_embeddings.weight";

    /// <summary>The table of the two segments.</summary>
    public const string Segments = "embeddings.token_type_embeddings.weight";

    /// <summary>The normalisation of embeddings.</summary>
    public const string EmbeddingNorm = "embeddings.LayerNorm";

    /// <summary>The normalisation behind the last layer, where layers normalise first.</summary>
    public const string LastNorm = "encoder.LayerNorm";

    /// <summary>The layer before the outputs, of the first token.</summary>
    public const string Pooler = "pooler.dense";

    /// <summary>The outputs.</summary>
    public const string Classifier = "classifier";

    /// <summary>The linear layers that adapters can be added to, by their short names, and what they are called in a layer.</summary>
    public static IReadOnlyDictionary<string, string> Targets { get; } = new Dictionary<string, string>(StringComparer.Ordinal)
    {
        ["query"] = "attention.self.query",
        ["key"] = "attention.self.key",
        ["value"] = "attention.self.value",
        ["output"] = "attention.output.dense",
        ["up"] = "intermediate.dense",
        ["down"] = "output.dense",
    };

    /// <summary>A part of a layer.</summary>
    public static string InLayer(int layer, string part) => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"encoder.layer.{layer}.{part}");

    /// <summary>Outputs and inputs of one of <see cref="Targets"/>.</summary>
    public static (long Outputs, long Inputs) SizeOf(TextSpec text, string target)
    {
        ArgumentNullException.ThrowIfNull(text);
        return target switch { "up" => (text.FeedForwardSize, text.Width), "down" => (text.Width, text.FeedForwardSize), _ => (text.Width, text.Width) };
    }

    /// <summary>All tensors but adapters, from the input to the outputs; pooler and outputs may be missing in weights of others.</summary>
    public static IReadOnlyList<ModuleTensor> Of(TextSpec text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var tensors = new List<ModuleTensor>
        {
            new(Words, [text.VocabularySize, text.Width]),
            new(Positions, [text.Positions, text.Width]),
            new(Segments, [2, text.Width]),
        };
        AddNorm(EmbeddingNorm);
        for (var i = 0; i < text.Layers; i++)
        {
            foreach (var (target, name) in Targets)
            {
                var (outputs, inputs) = SizeOf(text, target);
                AddLinear(InLayer(i, name), outputs, inputs);
                if (target is "output")
                    AddNorm(InLayer(i, "attention.output.LayerNorm"));
            }

            AddNorm(InLayer(i, "output.LayerNorm"));
        }

        if (text.NormFirst)
            AddNorm(LastNorm);
        if (text.Pooling == TextPooling.First)
            AddLinear(Pooler, text.Width, text.Width, mayBeMissing: true);
        AddLinear(Classifier, text.OutputSize, text.Width, mayBeMissing: true);
        return tensors;

        void AddLinear(string name, long outputs, long inputs, bool mayBeMissing = false) =>
            tensors.AddRange([new($"{name}.weight", [outputs, inputs], mayBeMissing), new($"{name}.bias", [outputs], mayBeMissing)]);

        void AddNorm(string name) => tensors.AddRange([new($"{name}.weight", [text.Width]), new($"{name}.bias", [text.Width])]);
    }

    /// <summary>Whether a tensor of <see cref="Of"/> keeps its first values.</summary>
    public static bool IsFrozen(TextSpec text, string name)
    {
        ArgumentNullException.ThrowIfNull(text);
        ArgumentNullException.ThrowIfNull(name);
        if (name.StartsWith(Pooler, StringComparison.Ordinal) || name.StartsWith(Classifier, StringComparison.Ordinal))
            return false;
        if (text.Adapter is not null)
            return true;
        var block = name.StartsWith("embeddings.", StringComparison.Ordinal) ? 0
            : name.StartsWith("encoder.layer.", StringComparison.Ordinal) ? 1 + int.Parse(name.Split('.')[2], System.Globalization.CultureInfo.InvariantCulture)
            : text.Layers;
        return block < text.FrozenBlocks;
    }
}
