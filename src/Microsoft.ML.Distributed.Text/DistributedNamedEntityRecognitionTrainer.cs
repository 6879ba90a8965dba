using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Trains an encoder of texts that tells what each of their words is, as a person or a place, on a cluster.</summary>
/// <remarks>
/// Made by <c>ml.MulticlassClassification.Trainers.DistributedNamedEntityRecognition</c>. A row is a text and a vector of keys, one for each
/// word between white space; a missing key is a class of its own, of words that are nothing, as in Microsoft.ML.TorchSharp. A word's label
/// is learnt at its first piece, and the loss is the mean over words. Output columns of <see cref="NamedEntityTransformer"/>: PredictedLabel, a
/// vector of keys, and Score, the probability of each. The model is the same on any number of ranks, up to rounding.
/// </remarks>
public sealed class DistributedNamedEntityRecognitionTrainer : DistributedEncoderTrainer
{
    private readonly Options _options;
    private readonly ulong _seed;

    internal DistributedNamedEntityRecognitionTrainer(IHostEnvironment environment, Options options)
        : base(environment, options, options.Training) => (_options, _seed) = (options, FitEnvironment.Seed(environment, options.Training, Host));

    private protected override MlTask Task => MlTask.Tagging;

    private string LabelColumnName => _options.Training.LabelColumnName;

    private protected override TextNetwork Sketch((int Size, int Separator) vocabulary) => new(_options, vocabulary, WordTags.Sketch);

    // The cluster first, so that one that has to be started does so while the data is read.
    private protected override TransformerChain<ITransformer> Train(IDataView input) => Run(
        ClusterSelection.Resolve(Environment, _options.Training.Cluster), input, _options.Training.CancellationToken,
        (run, rows, frame) => frame.Around(Environment, run.Execute(rows)));

    private protected override string Submit(TrainingCluster cluster, IDataView input, CancellationToken cancellation) => Run(cluster, input, cancellation, (run, rows, _) => run.Submit(rows));

    private protected override SchemaShape OutputSchema(SchemaShape input)
    {
        input.TryFindColumn(LabelColumnName, out var label);
        SchemaShape.Column[] outputs =
        [
            new(_options.OutputColumnName, SchemaShape.Column.VectorKind.VariableVector, NumberDataViewType.UInt32, true, new SchemaShape(label.Annotations.Where(a => a.Name == AnnotationUtils.Kinds.KeyValues))),
            new(_options.ScoreColumnName, SchemaShape.Column.VectorKind.VariableVector, NumberDataViewType.Single, false),
        ];
        return new SchemaShape(input.Where(c => outputs.All(o => o.Name != c.Name)).Concat(outputs));
    }

    private protected override IEnumerable<string> ValidateColumns(SchemaShape schema, string role)
    {
        foreach (var error in base.ValidateColumns(schema, role))
            yield return error;
        var (prefix, name) = (role[..^"text".Length], LabelColumnName);
        if (string.IsNullOrEmpty(name))
            yield return "LabelColumnName is empty, expected the name of a column of vectors of keys.";
        else if (!schema.TryFindColumn(name, out var label))
            yield return $"{prefix}{(prefix.Length == 0 ? "Label" : "label")} column \"{name}\" is not in the data, whose columns are {string.Join(", ", schema.Select(c => $"\"{c.Name}\""))}; expected a vector of keys. Name another column in LabelColumnName.";
        else if (!label.IsKey || label.Kind == SchemaShape.Column.VectorKind.Scalar || label.ItemType != NumberDataViewType.UInt32)
            yield return $"{prefix}{(prefix.Length == 0 ? "Label" : "label")} column \"{name}\" is {(label.Kind == SchemaShape.Column.VectorKind.Scalar ? "a" : "a vector of")} {(label.IsKey ? "key of " : "")}{label.ItemType}, expected a vector of keys of UInt32, one for each word. Map a vector of texts with ml.Transforms.Conversion.MapValueToKey(\"{name}\").";
        if (_options.Training.ExampleWeightColumnName is not { } weight)
            yield break;
        if (!schema.TryFindColumn(weight, out var column) || column.Kind != SchemaShape.Column.VectorKind.Scalar || column.ItemType != NumberDataViewType.Single)
            yield return $"{prefix}{(prefix.Length == 0 ? "Weight" : "weight")} column \"{weight}\" is not a Single of the data, expected one a row, or ExampleWeightColumnName null for equal weights.";
    }

    private protected override IEnumerable<string> ValidateOptions()
    {
        foreach (var error in base.ValidateOptions())
            yield return error;
        if (_options.Sentence2ColumnName is { } second)
            yield return $"Sentence2ColumnName is \"{second}\" for named entities, expected null: labels are those of one text's words.";
        if (string.IsNullOrEmpty(_options.OutputColumnName) || _options.OutputColumnName == _options.ScoreColumnName)
            yield return $"OutputColumnName is \"{_options.OutputColumnName}\", expected the name of a column to make, another than ScoreColumnName.";
        if (_options.Training.ClassWeights is not null)
            yield return "ClassWeights is set for named entities, expected null: a row has words of several classes. FocalGamma has words count less that are right already.";
    }

    private T Run<T>(ITrainingBackend backend, IDataView input, CancellationToken cancellation, Func<TrainingRun, IDataView, EntityFrame, T> use)
    {
        using var channel = Host.Start("Training");
        var options = TrainingOptions();
        var keys = LabelKeys.Of(input.Schema[LabelColumnName]);
        if (keys.Refusal(Host, LabelColumnName) is { } refusal)
            throw new ArgumentException(refusal);
        LabelledTextStatistics statistics = null!;
        var (vocabulary, most) = Measure(input, v => (statistics = Texts(input, "Label").Count(new WordTokenizer(new TextTokenizer(v), MostTokens))).Longest, cancellation);
        Check(statistics, channel);
        var tags = WordTags.Of(input.Schema[LabelColumnName], statistics.Counts);
        var network = new TextNetwork(_options, (vocabulary.Tokens.Count, vocabulary.SeparatorId), tags);
        var columns = new TrainingColumns(Task, TokensColumnName, $"{_options.Sentence1ColumnName}.None", $"{_options.Sentence1ColumnName}.Words");
        var tokenizer = new WordTokenizer(new TextTokenizer(vocabulary), most);
        var rows = new TaggedRowsTransformer(Environment, tokenizer, tags, columns, _options.Sentence1ColumnName, LabelColumnName, options.ExampleWeightColumnName);
        if (options.ValidationSet is { } validation)
        {
            if (SameMeaning.CompareKeys(input.Schema[LabelColumnName], validation.Schema[LabelColumnName]) is { } error)
                throw new ArgumentException(error);
            Texts(validation, "Validation set: label").Count(tokenizer);
            options.ValidationSet = rows.Transform(validation);
        }

        var frame = new EntityFrame(Environment, new EntityColumns(_options.Sentence1ColumnName, _options.OutputColumnName, _options.ScoreColumnName), vocabulary, keys);
        var spec = JobSpecFactory.Create(options, network, Task, most, tags.ClassCount, _seed, GetType().Name);
        var run = new TrainingRun(backend, columns, options, network, spec, start: null, channel, FitEnvironment.EncodingFolder(Environment), cancellation) { Frame = frame };
        return use(run, rows.Transform(input), frame);

        LabelledTexts Texts(IDataView data, string subject) => new(data, _options.Sentence1ColumnName, LabelColumnName, subject, cancellation);
    }

    private void Check(LabelledTextStatistics statistics, IChannel channel)
    {
        if (statistics.Counts.Sum() == 0)
            throw new InvalidDataException($"Training data has no words in column \"{_options.Sentence1ColumnName}\", expected some. Check the source and its filters.");
        if (statistics.Counts.Count(c => c > 0) < 2)
            throw new InvalidDataException($"Label column \"{LabelColumnName}\" has the same label for all {statistics.Counts.Sum():N0} words, expected two or more. Check how the data was filtered or mapped.");
        if (statistics.Cut > 0)
            channel.Warning(MessageSensitivity.None, $"Texts have {statistics.Cut:N0} words behind their first {MostTokens:N0} tokens, which are not trained on. Cut such texts into several rows, or set MaxTokens.");
    }

    /// <summary>Options of <see cref="DistributedNamedEntityRecognitionTrainer"/>.</summary>
    public sealed class Options : TextOptions
    {
        /// <summary>Makes options with their defaults.</summary>
        public Options() => Sentence1ColumnName = "Sentence";

        /// <summary>The output column of predicted labels. Beside it, in <see cref="TextOptions.ScoreColumnName"/>, is the probability of each.</summary>
        /// <value>"PredictedLabel"</value>
        public string OutputColumnName { get; set; } = DefaultColumnNames.PredictedLabel;

        /// <summary>How the encoder is trained, on what, and the label column; what describes the built-in network is left alone, and so is ClassWeights.</summary>
        /// <value>10 epochs of 32 rows a step, WeightDecay 0.01, GradientClipNorm 1. A LearningRate of 0, which it is: 5e-5 to fine-tune weights, else 1e-3.</value>
        /// <example><code>new DistributedNamedEntityRecognitionTrainer.Options { Training = { LabelColumnName = "Tags", MaxRanks = 2 } }</code></example>
        public DistributedMulticlassTrainer.Options Training { get; } = new() { Epochs = DefaultEpochs, BatchSize = DefaultBatchSize, LearningRate = 0, WeightDecay = DefaultWeightDecay, GradientClipNorm = DefaultClipNorm };
    }
}
