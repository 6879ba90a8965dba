using System.Reflection;
using Google.Protobuf;
using Microsoft.ML.Data;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>
/// The network that a training starts from. Its parameters mean something only behind its own scaling of features and
/// labels, and with its own order of classes: the job takes over the scaling, and the outputs are put in the order of the
/// new data's classes.
/// </summary>
internal sealed class StartingNetwork
{
    private const string Name = "StartFrom";
    private const string TrainSchemaField = "TrainSchema";
    private const double FarDeviations = 3;
    private const double OtherDeviation = 10;
    private readonly TrainedNetwork _network;
    private readonly ISingleFeaturePredictionTransformer<object>? _transformer;
    private readonly IReadOnlyList<ITransformer> _before;

    private StartingNetwork(TrainedNetwork network, ISingleFeaturePredictionTransformer<object>? transformer, IReadOnlyList<ITransformer> before) =>
        (_network, _transformer, _before) = (network, transformer, before);

    /// <summary>The job that trained it.</summary>
    public JobSpec Spec => _network.Spec;

    /// <summary>Finds the network in what the user gave: a transformer, a chain that holds one, or a model.</summary>
    /// <param name="given">The option.</param>
    /// <param name="error">What is wrong with it; null: nothing.</param>
    public static StartingNetwork? Find(object? given, out string? error)
    {
        error = null;
        if (given is null)
            return null;
        var found = Search(given, []).ToList();
        if (found is [var one])
            return one;
        const string expected = "expected the transformer that Fit of such a trainer returned or ml.Model.Load read, a chain with one of them, or its Model";
        error = found.Count == 0
            ? $"{Name} is a {given.GetType().Name} without a distributed neural network, {expected}."
            : $"{Name} is a chain with {found.Count} distributed neural networks, {expected}. Take the one to start from out of the chain.";
        return null;
    }

    /// <summary>All that keeps the job from starting with these parameters, each a sentence.</summary>
    /// <param name="spec">The job.</param>
    /// <param name="isScaled">Whether it scales features.</param>
    /// <param name="columns">The trainer's.</param>
    /// <param name="schema">Of the training data; null where its columns are wrong.</param>
    public IEnumerable<string> Mismatches(JobSpec spec, bool isScaled, TrainingColumns columns, DataViewSchema? schema)
    {
        var areBuiltIn = (Spec.Module?.Mlp, spec.Module?.Mlp) is ({ }, { });
        if (!areBuiltIn && (Spec.Module?.Torch, spec.Module?.Torch) is not ({ }, { }))
        {
            yield return $"{Name} is a network of kind {Spec.Module?.ModuleCase} beside one of kind {spec.Module?.ModuleCase}, expected the built-in network for both, or a module of your own for both.";
            yield break;
        }

        if (Spec.Task != spec.Task)
        {
            yield return $"{Name} is a network for {Spec.Task.ToString().ToLowerInvariant()}, expected one for {spec.Task.ToString().ToLowerInvariant()}.";
            yield break;
        }

        // What a module of the user's own is made of, its ranks see.
        foreach (var layers in areBuiltIn ? LayerMismatches(Spec.Module!.Mlp, spec.Module!.Mlp) : [])
            yield return layers;
        if (Spec.Data?.Features is not null != isScaled)
            yield return Differs("NormalizeFeatures", !isScaled, isScaled);
        if (schema is null)
            yield break;
        if (!areBuiltIn && !Spec.Module!.Torch.Inputs.Equals(spec.Module!.Torch.Inputs))
            yield return $"{Name} is a module with the inputs {Inputs(Spec)}, expected {Inputs(spec)}, as the data has them. Give the data the same columns, or train anew.";
        var features = schema[columns.Features];
        if (InputSize(Spec) != InputSize(spec))
            yield return $"{Name} has {InputSize(Spec):N0} features, expected {InputSize(spec):N0}, the slots of feature column \"{features.Name}\". Give the data the same columns, or train anew.";
        else if (_transformer is not null && TrainSchema(_transformer)?.GetColumnOrNull(_transformer.FeatureColumnName) is { } trained
            && SameMeaning.CompareSlots(trained, features, "Training data", $"the data of {Name}") is { } slot)
            yield return slot;
        else if (_transformer is not null && TrainSchema(_transformer) is { } known && KeyMismatch(spec, known, schema, features) is { } key)
            yield return key;
        var (error, order) = MatchClasses(schema[columns.Label]);
        if (error is not null)
            yield return error;
        else if (!areBuiltIn && !IsInOrder(order))
            yield return $"{Name} has the classes of label column \"{columns.Label}\" in another order, expected the same: the outputs of a module of your own cannot be put in another. Map the labels by the transformer that was fitted then.";
    }

    /// <summary>The file that the job starts from; its name and its scaling become part of the specification.</summary>
    /// <param name="spec">The job, which has no <see cref="Mismatches"/>.</param>
    /// <param name="label">The label column of the training data.</param>
    public JobFile Attach(JobSpec spec, DataViewSchema.Column label)
    {
        spec.Data.Features = Spec.Data?.Features?.Clone();
        spec.Data.Label = Spec.Data?.Label?.Clone();
        if (spec.Module.Torch is not null)
        {
            var weights = new JobFile(TensorFile.Write(OnnxModuleReader.Read(_network.Onnx, Spec)));
            spec.StartingWeights = weights.AsWeights();
            return weights;
        }

        spec.Module.Mlp.Steps = Spec.Module.Mlp.Steps?.Clone();
        spec.Module.Mlp.OutputBias.Clear();
        var file = new JobFile(InOrder(MatchClasses(label).Order));
        spec.StartFrom = new StartingModel { ModelId = file.Id.Text, SizeBytes = file.Content.Length };
        return file;
    }

    /// <summary>The slots that the network ignores, since they were constant where it was trained, and that are no constants now.</summary>
    public IEnumerable<int> Ignored(IFeatureStatistics statistics) => Spec.Data?.Features is not { } scaling ? []
        : Enumerable.Range(0, scaling.Scale.Count).Where(i => scaling.Scale[i] == 0 && statistics.Deviation(i) > 0);

    /// <summary>The slots whose numbers are far from those that the network was trained on, behind a scaling that stays.</summary>
    public IEnumerable<int> Moved(IFeatureStatistics statistics) => Spec.Data?.Features is not { } scaling ? []
        : Enumerable.Range(0, scaling.Scale.Count).Except(Spec.Module.UnscaledSlots()).Where(i => statistics.HasValues(i) && IsFar(statistics.Mean(i) - MeanOf(i), statistics.Deviation(i), scaling.Scale[i]));

    /// <summary>A slot's mean and standard deviation where the network was trained.</summary>
    public (double Mean, double Deviation) Trained(int slot) => (MeanOf(slot), 1 / Spec.Data.Features.Scale[slot]);

    /// <summary>Whether the features are known to be made by other transforms than in the chain that was given, or by the same fitted anew.</summary>
    /// <param name="data">The training data.</param>
    /// <param name="column">Its feature column.</param>
    public bool IsBehindOthers(IDataView data, string column) => _transformer?.FeatureColumnName == column && FeatureOrigin.IsAnother(data, column, _before);

    private static string Inputs(JobSpec spec) => string.Join(", ", spec.Module.Torch.Inputs.Select(i => $"\"{i.Name}\" ({(i.KeyCount > 0 ? $"keys of {i.KeyCount:N0}" : "numbers")}, {i.Size:N0} a row)").DefaultIfEmpty("all features as one"));

    /// <summary>The columns of keys whose values are not known of where the network was trained, as of one that was attached to: whether they are the same cannot be seen.</summary>
    /// <param name="spec">The job.</param>
    /// <param name="features">Its feature column.</param>
    public IReadOnlyList<string> UnknownKeys(JobSpec spec, DataViewSchema.Column features) =>
        [.. KeyNames(spec, features).Where(name => _transformer is null || TrainSchema(_transformer)?.GetColumnOrNull(name) is null)];

    private static IEnumerable<string> KeyNames(JobSpec spec, DataViewSchema.Column features) =>
        spec.Module.Torch is { } torch ? torch.Inputs.Where(i => i.KeyCount > 0).Select(i => i.Name)
        : features.HasSlotNames() ? spec.Module.UnscaledSlots().Select(slot => SameMeaning.NameOfSlot(features, slot)) : [];

    // Which category an id is, the key's values say.
    private static string? KeyMismatch(JobSpec spec, DataViewSchema known, DataViewSchema given, DataViewSchema.Column features) =>
        (from name in KeyNames(spec, features)
         where known.GetColumnOrNull(name) is not null && given.GetColumnOrNull(name) is not null
         select SameMeaning.CompareKeys(known[name], given[name], "Training data: categorical", "key", $"the data of {Name}")).FirstOrDefault(error => error is not null);

    // Sparse features are not centred.
    private double MeanOf(int slot) => Spec.Data.Features.Mean.Count == 0 ? 0 : Spec.Data.Features.Mean[slot];

    // A feature that is rare today, and a constant then, are within.
    private static bool IsFar(double distance, double deviation, double scale) =>
        Math.Abs(distance) * scale > FarDeviations || deviation * scale > OtherDeviation || (deviation > 0 && scale > 0 && deviation * scale < 1 / OtherDeviation);

    private static IEnumerable<StartingNetwork> Search(object given, IReadOnlyList<ITransformer> before) => given switch
    {
        ITransformerChainAccessor chain => chain.Transformers.SelectMany((t, i) => Search(t, [.. before, .. chain.Transformers.Take(i)])),
        ISingleFeaturePredictionTransformer<object> { Model: ITrainedModel model } transformer => [new StartingNetwork(model.Network, transformer, before)],
        ITrainedModel model => [new StartingNetwork(model.Network, model.Transformer, before)],
        _ => [],
    };

    private static IEnumerable<string> LayerMismatches(MlpSpec known, MlpSpec wanted)
    {
        if (!known.HiddenSizes.Equals(wanted.HiddenSizes))
            yield return Differs("HiddenLayers", Sizes(known), Sizes(wanted));
        if (known.Sparse is null != wanted.Sparse is null)
            yield return Differs("FeatureEncoding", Form(known), Form(wanted));
        if (!known.Categories.Equals(wanted.Categories))
            yield return $"{Name} has categorical columns of {Keys(known)} keys, expected {Keys(wanted)}, as the data has them. Map them by the transformer that was fitted then, or train anew.";
        if (known.Activation != wanted.Activation)
            yield return Differs("Activation", known.Activation, wanted.Activation);
        if (known.Normalization != wanted.Normalization)
            yield return Differs("Normalization", known.Normalization, wanted.Normalization);
    }

    private static int InputSize(JobSpec spec) => spec.Module?.Kind?.InputSize ?? 0;

    private static bool IsInOrder(IReadOnlyList<int> order) => order.Select((from, to) => from == to).All(same => same);

    private static string Differs(string option, object known, object wanted) => $"{Name} has {option} {known}, expected {wanted} as in these options. Set {option} to that of the network, or train anew.";

    private static FeatureEncoding Form(MlpSpec mlp) => mlp.Sparse is null ? FeatureEncoding.Dense : FeatureEncoding.Sparse;

    private static string Keys(MlpSpec mlp) => $"[{string.Join(", ", mlp.Categories.Select(c => c.KeyCount))}]";

    private static string Sizes(MlpSpec mlp) => $"[{string.Join(", ", mlp.HiddenSizes)}]";

    // Which class an output is, the label's values say: data that was mapped on its own has them in another order.
    private (string? Error, IReadOnlyList<int> Order) MatchClasses(DataViewSchema.Column label)
    {
        if (Spec.Task != MlTask.Multiclass)
            return (null, []);
        if (_transformer is null)
            return ($"{Name} is a model without its transformer, which knows the values of its {Spec.Module.Kind!.OutputSize:N0} classes, expected the transformer itself.", []);
        return (SameMeaning.MatchKeys(PredictedLabel(_transformer), Spec.Module.Kind!.OutputSize, label, Name, out var order), order);
    }

    // ML.NET's transformers keep the schema that they were trained with to themselves; the label's values are in what they put out.
    private static DataViewSchema.Column PredictedLabel(ISingleFeaturePredictionTransformer<object> transformer)
    {
        var input = new DataViewSchema.Builder();
        input.AddColumn(transformer.FeatureColumnName, transformer.FeatureColumnType);
        return transformer.GetOutputSchema(input.ToSchema())[DefaultColumnNames.PredictedLabel];
    }

    private static DataViewSchema? TrainSchema(object transformer)
    {
        for (var type = transformer.GetType(); type is not null; type = type.BaseType)
            if (type.GetField(TrainSchemaField, BindingFlags.Instance | BindingFlags.NonPublic | BindingFlags.Public | BindingFlags.DeclaredOnly) is { } field)
                return field.GetValue(transformer) as DataViewSchema;
        return null;
    }

    // As it was trained, where its classes are in the same places: a file that the cluster may have.
    private byte[] InOrder(IReadOnlyList<int> order)
    {
        if (IsInOrder(order))
            return _network.Onnx;
        var tensors = new Dictionary<string, float[]>(OnnxMlpReader.Read(_network.Onnx, Spec), StringComparer.Ordinal);
        var last = Spec.Module.Mlp.HiddenSizes.Count;
        foreach (var name in (string[])[$"layers.{last}.weight", $"layers.{last}.bias"])
        {
            var (old, ordered) = (tensors[name], new float[tensors[name].Length]);
            var width = old.Length / order.Count;
            for (var to = 0; to < order.Count; to++)
                old.AsSpan(order[to] * width, width).CopyTo(ordered.AsSpan(to * width));
            tensors[name] = ordered;
        }

        return OnnxMlpWriter.Write(Spec, tensors).ToByteArray();
    }
}
