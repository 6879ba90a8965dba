using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>What all trainers of texts share: their columns, the encoder that they train, and what is refused before a row is read.</summary>
public abstract class DistributedEncoderTrainer : IEstimator<TransformerChain<ITransformer>>, IDistributedTrainer
{
    private protected const int LeastVocabulary = 100;
    private const int LeastTokens = 3;
    private const int MostVocabulary = 1_000_000;
    private const int TokenUnit = 8;

    // Fine-tuning moves weights that are good already; additions and encoders from scratch have a way to go.
    private const double FineTuningRate = 5e-5;
    private const double OwnRate = 1e-3;
    private readonly TextOptions _text;
    private readonly NeuralNetworkOptions _training;

    private protected DistributedEncoderTrainer(IHostEnvironment environment, TextOptions text, NeuralNetworkOptions training)
    {
        (Host, _text, _training) = (environment.Register(GetType().Name), text, training);
        Environment = environment;
    }

    private protected IHostEnvironment Environment { get; }

    private protected IHost Host { get; }

    private protected abstract MlTask Task { get; }

    private protected string TokensColumnName => $"{_text.Sentence1ColumnName}.Tokens";

    private protected int MostTokens => _text.MaxTokens ?? Math.Min(TextNetwork.DefaultMaxTokens, _text.Weights?.Positions ?? TextNetwork.DefaultMaxTokens);

    /// <summary>Trains an encoder on a cluster and returns the transformers that score with it.</summary>
    /// <param name="input">The training data.</param>
    /// <returns>A chain that saves and loads with <c>ml.Model</c>, and scores without libtorch.</returns>
    /// <exception cref="ArgumentException">Columns or options are wrong; the message lists all that is.</exception>
    /// <exception cref="InvalidDataException">A row cannot be trained on; the message names it.</exception>
    /// <exception cref="OperationCanceledException">The options' token was cancelled.</exception>
    public TransformerChain<ITransformer> Fit(IDataView input)
    {
        ArgumentNullException.ThrowIfNull(input);
        Validate(input);
        return Train(input);
    }

    string IDistributedTrainer.Submit(TrainingCluster cluster, IDataView input, CancellationToken cancellation)
    {
        Validate(input);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellation, _training.CancellationToken);
        return Submit(cluster, input, either.Token);
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">Columns or options are wrong; the message lists all that is.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        ArgumentNullException.ThrowIfNull(inputSchema);
        ThrowIfAny([.. ValidateColumns(inputSchema, "Text"), .. ValidateOptions()]);
        return OutputSchema(inputSchema);
    }

    private protected abstract TransformerChain<ITransformer> Train(IDataView input);

    private protected abstract string Submit(TrainingCluster cluster, IDataView input, CancellationToken cancellation);

    private protected abstract SchemaShape OutputSchema(SchemaShape input);

    /// <summary>Stands in for the encoder until data is read.</summary>
    private protected virtual TextNetwork Sketch((int Size, int Separator) vocabulary) => new(_text, vocabulary);

    /// <summary>The options of the training that a job is made of.</summary>
    private protected NeuralNetworkOptions TrainingOptions()
    {
        var options = _training.Copy();
        options.FeatureColumnName = TokensColumnName;
        options.NormalizeFeatures = false;
        if (options.LearningRate == 0)
            options.LearningRate = _text.Weights is not null && _text.Adapter is null ? FineTuningRate : OwnRate;
        return options;
    }

    private protected virtual IEnumerable<string> ValidateColumns(SchemaShape schema, string role)
    {
        foreach (var (option, name) in new[] { (nameof(_text.Sentence1ColumnName), _text.Sentence1ColumnName), (nameof(_text.Sentence2ColumnName), _text.Sentence2ColumnName) })
        {
            if (name is null && option == nameof(_text.Sentence2ColumnName))
                continue;
            if (string.IsNullOrEmpty(name))
                yield return $"{option} is empty, expected the name of a column of texts.";
            else if (!schema.TryFindColumn(name, out var column))
                yield return $"{role} column \"{name}\" is not in the data, whose columns are {string.Join(", ", schema.Select(c => $"\"{c.Name}\""))}; expected a text. Name another column in {option}.";
            else if (column.Kind != SchemaShape.Column.VectorKind.Scalar || column.ItemType is not TextDataViewType)
                yield return $"{role} column \"{name}\" is {(column.Kind == SchemaShape.Column.VectorKind.Scalar ? "a" : "a vector of")} {column.ItemType}, expected one text a row. Convert it with ml.Transforms.Conversion.ConvertType(\"{name}\", outputKind: DataKind.String), or name another column in {option}.";
        }
    }

    private protected virtual IEnumerable<string> ValidateOptions()
    {
        if (string.IsNullOrEmpty(_text.ScoreColumnName))
            yield return "ScoreColumnName is empty, expected the name of the column to make.";
        if (_text.Weights is not null && _text.Vocabulary is not null)
            yield return "Vocabulary is set beside Weights, which have one, expected null.";
        if (_text.VocabularySize is < LeastVocabulary or > MostVocabulary)
            yield return $"VocabularySize is {_text.VocabularySize:N0}, expected {LeastVocabulary} to {MostVocabulary:N0}.";
        if (_text.MaxTokens < LeastTokens)
            yield return $"MaxTokens is {_text.MaxTokens}, expected at least {LeastTokens}: a text has two special tokens.";
        if (_training.StartFrom is not null)
            yield return "StartFrom is set beside a text encoder, expected null. Start from Weights.";
        foreach (var error in ValidateNetwork())
            yield return error;
    }

    private void Validate(IDataView input) => ThrowIfAny([
        .. ValidateColumns(SchemaShape.Create(input.Schema), "Text"),
        .. _training.ValidationSet is { } set ? ValidateColumns(SchemaShape.Create(set.Schema), "Validation set: text") : [],
        .. ValidateOptions()]);

    // All that a job would be refused for, before a row is read.
    private IEnumerable<string> ValidateNetwork()
    {
        var vocabulary = _text.Weights?.Vocabulary ?? _text.Vocabulary;
        var network = Sketch((_text.Weights?.VocabularySize ?? vocabulary?.Tokens.Count ?? LeastVocabulary, vocabulary?.SeparatorId ?? 0));
        var options = TrainingOptions();
        var spec = JobSpecFactory.Create(options, network, Task, MostTokens, Task is MlTask.Regression or MlTask.Binary ? 1 : 2, seed: 0, GetType().Name);
        spec.ClassWeights.Clear();
        var errors = JobSpecFactory.Validate(options, network, spec).ToList();
        if (errors.Count > 0 || _text.Weights is not { } weights)
            return errors;
        return PretrainedFit.Misfits(TextTensors.Of(spec.Module.Text), weights.ShapeOf);
    }

    /// <summary>The vocabulary, and the tokens that a row has at the most.</summary>
    private protected (TextVocabulary Vocabulary, int Tokens) Measure(IDataView input, Func<TextVocabulary, int> longestWith, CancellationToken cancellation)
    {
        using var channel = Host.Start("Tokenizing");
        var pass = new TextPass(input, _text.Sentence1ColumnName, _text.Sentence2ColumnName, cancellation);
        var vocabulary = _text.Weights?.Vocabulary ?? _text.Vocabulary ?? pass.Learn(_text.VocabularySize);
        var longest = longestWith(vocabulary);
        channel.Info(MessageSensitivity.None, $"Texts have up to {longest:N0} tokens{(longest == MostTokens ? ", where longer ones are cut" : "")}, of a vocabulary of {vocabulary.Tokens.Count:N0}.");
        return (vocabulary, Math.Min(MostTokens, (longest + TokenUnit - 1) / TokenUnit * TokenUnit));
    }

    private protected void ThrowIfAny(IReadOnlyList<string> errors)
    {
        if (errors.Count > 0)
            throw NeuralNetworkOptions.Refusal(GetType().Name, errors);
    }
}
