using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;

namespace MLDistributed.Protocol;

/// <summary>The encoder of texts.</summary>
public sealed class TextEncoderKind : IPretrainedKind
{
    /// <summary>The most tokens of a vocabulary: the whole numbers that float32 has.</summary>
    public const int MaxVocabulary = 1 << 24;

    /// <summary>The most tokens of a text.</summary>
    public const int MaxTokens = 1 << 16;

    /// <summary>The most layers.</summary>
    public const int MaxLayers = 200;

    /// <summary>The widest encoder.</summary>
    public const int MaxWidth = 1 << 14;

    private const double LargestDropout = 0.999;
    private const double LargestOutputBias = 100;
    private readonly TextSpec _text;

    internal TextEncoderKind(TextSpec text) => _text = text;

    /// <inheritdoc/>
    /// <remarks>Tokens, and behind them their tags where they have some.</remarks>
    public int InputSize => _text.Tags is null ? _text.InputSize : 2 * _text.InputSize;

    /// <inheritdoc/>
    public int ModelInputSize => _text.InputSize;

    /// <inheritdoc/>
    public int OutputSize => _text.OutputSize;

    /// <inheritdoc/>
    public bool JoinsRows => false;

    /// <inheritdoc/>
    /// <remarks>Of a row of one token: a batch is cut to its longest row.</remarks>
    public Int128 ActivationsOfRow => (Int128)_text.Layers * ((8 * (Int128)_text.Width) + (2 * (Int128)_text.FeedForwardSize));

    /// <inheritdoc/>
    public IReadOnlyList<ModuleTensor> Tensors => TextTensors.Of(_text);

    /// <inheritdoc/>
    public IEnumerable<string> Errors(MlTask task)
    {
        var sizes = new List<string>();
        Size("Tokens of a text", _text.InputSize, 1, MaxTokens);
        Size("Vocabulary", _text.VocabularySize, 1, MaxVocabulary);
        Size("Width", _text.Width, 1, MaxWidth);
        Size("Layers", _text.Layers, 1, MaxLayers);
        Size("Heads", _text.Heads, 1, MaxWidth);
        Size("FeedForwardSize", _text.FeedForwardSize, 1, 1 << 20);
        Size("Positions", _text.Positions, 1, MaxTokens);
        if (task is MlTask.Binary or MlTask.Regression && _text.OutputSize != 1)
            sizes.Add($"Output size is {_text.OutputSize}, expected 1 in {task.ToString().ToLowerInvariant()} training.");
        if (_text.Tags is null == (task == MlTask.Tagging))
            sizes.Add($"Tags are {(_text.Tags is null ? "missing" : "set")} in {task.ToString().ToLowerInvariant()} training, expected them in tagging alone.");
        if (sizes.Count > 0)
            return sizes;
        return Others().Concat(TagErrors());

        void Size(string name, int value, int least, int most)
        {
            if (value < least || value > most)
                sizes.Add($"{name} is {value:N0}, expected {least:N0} to {most:N0}.");
        }
    }

    /// <inheritdoc/>
    public (long Least, long Most) ModelBytes(JobSpec spec) => OnnxTextReader.Bytes(spec);

    /// <inheritdoc/>
    public void CheckModel(byte[] onnx, JobSpec spec) => OnnxTextReader.Read(onnx, spec);

    private IEnumerable<string> TagErrors()
    {
        if (_text.Tags is not { } tags)
            yield break;
        if (tags.Entity.Count != tags.Begins.Count || (tags.Entity.Count != 0 && tags.Entity.Count != _text.OutputSize))
            yield return $"Tags have {tags.Entity.Count:N0} entities and {tags.Begins.Count:N0} beginnings, expected none, or one for each of the {_text.OutputSize:N0} outputs.";
        if (!tags.Entity.All(e => e >= 0 && e <= _text.OutputSize))
            yield return $"Tags have entities beyond 0 to {_text.OutputSize:N0}, expected kinds that are counted from 1, or 0 for none.";
        if (_text.Pooling != TextPooling.Mean)
            yield return $"Pooling is {_text.Pooling} beside tags, expected none: each word has outputs of its own.";
    }

    private IEnumerable<string> Others()
    {
        if (_text.Width % _text.Heads != 0)
            yield return $"Width is {_text.Width} with {_text.Heads} heads, expected a multiple of them.";
        if (_text.Positions < _text.InputSize)
            yield return $"MaxTokens is {_text.InputSize:N0}, expected at most the {_text.Positions:N0} positions of the encoder.";
        if (_text.SeparatorId < 0 || _text.SeparatorId >= _text.VocabularySize)
            yield return $"The separator's id is {_text.SeparatorId}, expected one of the vocabulary of {_text.VocabularySize:N0}.";
        if (Tensors.Aggregate(Int128.Zero, (sum, t) => sum + t.Length) is var parameters && parameters > JobSpecRules.MaxParameters)
            yield return $"The encoder has {parameters:N0} parameters, expected at most {JobSpecRules.MaxParameters:N0}: an ONNX file holds 2 GiB.";
        if (!Enum.IsDefined(_text.Activation) || !Enum.IsDefined(_text.Pooling))
            yield return $"Activation is {_text.Activation} and Pooling {_text.Pooling}, expected what this release knows.";
        if (_text.Dropout is not (>= 0 and <= LargestDropout))
            yield return $"Dropout is {_text.Dropout}, expected a fraction from 0 to {LargestDropout}.";
        if (_text.NormEpsilon is not (>= 1e-14 and <= 1))
            yield return $"NormEpsilon is {_text.NormEpsilon}, expected a number from 1E-14 to 1.";
        if (_text.OutputBias.Count != 0 && _text.OutputBias.Count != _text.OutputSize)
            yield return $"Output biases are {_text.OutputBias.Count:N0}, expected none, or one for each of the {_text.OutputSize:N0} outputs.";
        if (!_text.OutputBias.All(b => Math.Abs(b) <= LargestOutputBias))
            yield return $"Output biases go beyond {LargestOutputBias}, expected numbers within it.";
        if (_text.FrozenBlocks < 0 || _text.FrozenBlocks > _text.Layers + 1)
            yield return $"FrozenLayers is {_text.FrozenBlocks - 1}, expected 0 (the embeddings) to the {_text.Layers} layers that there are, or null for none.";
        if (_text.Adapter is not { } adapter)
            yield break;
        if (adapter.Rank < 1 || adapter.Rank > _text.Width)
            yield return $"Adapter.Rank is {adapter.Rank}, expected 1 to the width, {_text.Width}.";
        if (adapter.Alpha is not (> 0 and <= 1e6))
            yield return $"Adapter.Alpha is {adapter.Alpha}, expected a number above 0, to 1,000,000.";
        if (adapter.Targets.Count == 0 || adapter.Targets.Distinct(StringComparer.Ordinal).Count() != adapter.Targets.Count || !adapter.Targets.All(TextTensors.Targets.ContainsKey))
            yield return $"Adapter.Targets are [{string.Join(", ", adapter.Targets.Take(10).Select(t => VisibleText.Shortened(t)))}], expected some of {string.Join(", ", TextTensors.Targets.Keys)}, each once.";
        if (_text.FrozenBlocks > 0)
            yield return $"FrozenLayers is {_text.FrozenBlocks - 1} beside Adapter, expected null: with adapters all layers keep their weights.";
    }
}
