using Microsoft.ML.Data;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>The classes of words: the keys of a label column, with a missing key before them where words have one.</summary>
internal sealed class WordTags
{
    private const string Outside = "O";
    private readonly IReadOnlyList<string>? _names;

    private WordTags(int classCount, bool hasMissing, IReadOnlyList<string>? names, IReadOnlyList<float> outputBias) =>
        (ClassCount, HasMissing, _names, OutputBias) = (classCount, hasMissing, names, outputBias);

    /// <summary>Classes, the missing key among them.</summary>
    public int ClassCount { get; }

    /// <summary>Whether a missing key is the first class; else it is not looked at.</summary>
    public bool HasMissing { get; }

    /// <summary>What an encoder puts out that knows the classes' shares alone.</summary>
    public IReadOnlyList<float> OutputBias { get; }

    /// <summary>Those of a column.</summary>
    /// <param name="labels">A vector of keys.</param>
    /// <param name="counts">Words of the missing key, and of each key.</param>
    public static WordTags Of(DataViewSchema.Column labels, IReadOnlyList<long> counts)
    {
        var hasMissing = counts[0] > 0;
        var classes = counts.Skip(hasMissing ? 0 : 1).ToArray();
        var statistics = new LabelStatistics(MlTask.Multiclass, labels.Name, classes.Length);
        for (var i = 0; i < classes.Length; i++)
            if (classes[i] > 0)
                statistics.Add(i, classes[i]);
        return new WordTags(classes.Length, hasMissing, NamesOf(labels), statistics.ToOutputBias());
    }

    /// <summary>Those that stand in until data is read.</summary>
    public static WordTags Sketch { get; } = new(2, true, null, []);

    /// <summary>The class of a key, and 1; 0: it does not count.</summary>
    public uint ToTag(uint key) => HasMissing ? key + 1 : key;

    /// <summary>The key of a class.</summary>
    public uint ToKey(int index) => (uint)index + (HasMissing ? 0u : 1);

    /// <summary>As a job has them. Labels are those of entities (BIO) where each is "O", "B-" or "I-" and a kind, or missing.</summary>
    public TagsSpec ToSpec()
    {
        var spec = new TagsSpec();
        if (_names is null || !_names.All(n => n == Outside || KindOf(n) is not null) || !_names.Any(n => KindOf(n) is not null))
            return spec;
        var kinds = _names.Select(KindOf).OfType<string>().Distinct(StringComparer.Ordinal).ToList();
        if (HasMissing)
            Add(0, false);
        foreach (var name in _names)
            Add(KindOf(name) is { } kind ? kinds.IndexOf(kind) + 1 : 0, name[0] == 'B');
        return spec;

        void Add(int entity, bool begins)
        {
            spec.Entity.Add(entity);
            spec.Begins.Add(begins);
        }
    }

    private static string? KindOf(string name) => name.Length > 2 && name[0] is 'B' or 'I' && name[1] == '-' ? name[2..] : null;

    private static List<string>? NamesOf(DataViewSchema.Column labels)
    {
        if (labels.Annotations.Schema.GetColumnOrNull(AnnotationUtils.Kinds.KeyValues)?.Type is not VectorDataViewType { ItemType: TextDataViewType })
            return null;
        VBuffer<ReadOnlyMemory<char>> names = default;
        labels.Annotations.GetValue(AnnotationUtils.Kinds.KeyValues, ref names);
        return [.. names.DenseValues().Select(n => n.ToString())];
    }
}
