using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using Microsoft.ML.Transforms;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>What both trainers of texts do: they make token ids of the texts, and train an encoder of them on a cluster.</summary>
public abstract class DistributedTextTrainer : IEstimator<TransformerChain<ITransformer>>
{
    private const int LeastTokens = 3;
    private const int LeastVocabulary = 100;
    private const int MostVocabulary = 1_000_000;
    private const int TokenUnit = 8;

    // Fine-tuning moves weights that are good already; additions and encoders from scratch have a way to go.
    private const double FineTuningRate = 5e-5;
    private const double OwnRate = 1e-3;
    private readonly IHost _host;
    private readonly TextOptions _text;
    private readonly NeuralNetworkOptions _training;

    private protected DistributedTextTrainer(IHostEnvironment environment, TextOptions text, NeuralNetworkOptions training)
    {
        (_host, _text, _training) = (environment.Register(GetType().Name), text, training);
        Environment = environment;
    }

    private protected IHostEnvironment Environment { get; }

    private protected abstract MlTask Task { get; }

    private string TokensColumnName => $"{_text.Sentence1ColumnName}.Tokens";

    /// <summary>Trains an encoder on a cluster and returns the transformer that scores with it.</summary>
    /// <param name="input">The training data.</param>
    /// <returns>A chain: token ids, ML.NET's prediction transformer, and copies of its outputs where they are to have other names. It saves and loads with <c>ml.Model</c>, and scores without libtorch.</returns>
    /// <exception cref="ArgumentException">Columns or options are wrong; the message lists all that is.</exception>
    /// <exception cref="InvalidDataException">A row cannot be trained on; the message names it.</exception>
    /// <exception cref="OperationCanceledException">The options' token was cancelled.</exception>
    public TransformerChain<ITransformer> Fit(IDataView input)
    {
        ArgumentNullException.ThrowIfNull(input);
        ThrowIfAny([
            .. ValidateColumns(SchemaShape.Create(input.Schema), "Text"),
            .. _training.ValidationSet is { } set ? ValidateColumns(SchemaShape.Create(set.Schema), "Validation set: text") : [],
            .. ValidateOptions()]);
        var tokens = Tokenize(input);
        var options = Options();
        options.ValidationSet = _training.ValidationSet is { } validation ? tokens.Transform(validation) : null;
        var network = new TextNetwork(_text, (tokens.Vocabulary.Tokens.Count, tokens.Vocabulary.SeparatorId));
        var prediction = MakeTrainer(options, network).Fit(tokens.Transform(input));
        return new TransformerChain<ITransformer>([tokens, prediction, .. Renamed().Select(r => new ColumnCopyingTransformer(Environment, (r.To, r.From)))]);
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">Columns or options are wrong; the message lists all that is.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        ArgumentNullException.ThrowIfNull(inputSchema);
        ThrowIfAny([.. ValidateColumns(inputSchema, "Text"), .. ValidateOptions()]);
        var tokens = new SchemaShape.Column(TokensColumnName, SchemaShape.Column.VectorKind.Vector, NumberDataViewType.Single, false);
        var schema = new SchemaShape(inputSchema.Where(c => c.Name != TokensColumnName).Append(tokens));
        schema = MakeTrainer(Options(), new TextNetwork(_text, (LeastVocabulary, 0))).GetOutputSchema(schema);
        foreach (var (from, to) in Renamed())
            schema = new ColumnCopyingEstimator(Environment, (to, from)).GetOutputSchema(schema);
        return schema;
    }

    private protected abstract IEstimator<ITransformer> MakeTrainer(NeuralNetworkOptions options, TextNetwork network);

    /// <summary>The prediction's output columns that are to have other names.</summary>
    private protected virtual IEnumerable<(string From, string To)> Renamed()
    {
        if (_text.ScoreColumnName != DefaultColumnNames.Score)
            yield return (DefaultColumnNames.Score, _text.ScoreColumnName);
    }

    private NeuralNetworkOptions Options()
    {
        var options = _training.Copy();
        options.FeatureColumnName = TokensColumnName;
        options.NormalizeFeatures = false;
        if (options.LearningRate == 0)
            options.LearningRate = _text.Weights is not null && _text.Adapter is null ? FineTuningRate : OwnRate;
        return options;
    }

    private IEnumerable<string> ValidateColumns(SchemaShape schema, string role)
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

    private IEnumerable<string> ValidateOptions()
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

    // All that a job would be refused for, before a row is read.
    private IEnumerable<string> ValidateNetwork()
    {
        var vocabulary = _text.Weights?.Vocabulary ?? _text.Vocabulary;
        var network = new TextNetwork(_text, (_text.Weights?.VocabularySize ?? vocabulary?.Tokens.Count ?? LeastVocabulary, vocabulary?.SeparatorId ?? 0));
        var options = Options();
        options.ValidationSet = _training.ValidationSet;
        var spec = JobSpecFactory.Create(options, network, Task, MostTokens, Task == MlTask.Multiclass ? 2 : 1, seed: 0, GetType().Name);
        spec.ClassWeights.Clear();
        var errors = JobSpecFactory.Validate(options, network, spec).ToList();
        if (errors.Count > 0 || _text.Weights is not { } weights)
            return errors;
        return PretrainedFit.Misfits(TextTensors.Of(spec.Module.Text), weights.ShapeOf);
    }

    private int MostTokens => _text.MaxTokens ?? Math.Min(TextNetwork.DefaultMaxTokens, _text.Weights?.Positions ?? TextNetwork.DefaultMaxTokens);

    private TextTokensTransformer Tokenize(IDataView input)
    {
        using var channel = _host.Start("Tokenizing");
        var pass = new TextPass(input, _text.Sentence1ColumnName, _text.Sentence2ColumnName, _training.CancellationToken);
        var vocabulary = _text.Weights?.Vocabulary ?? _text.Vocabulary ?? pass.Learn(_text.VocabularySize);
        var longest = pass.Longest(new TextTokenizer(vocabulary), MostTokens);
        var tokens = Math.Min(MostTokens, (longest + TokenUnit - 1) / TokenUnit * TokenUnit);
        channel.Info(MessageSensitivity.None, $"Texts have up to {longest:N0} tokens{(longest == MostTokens ? ", where longer ones are cut" : "")}, of a vocabulary of {vocabulary.Tokens.Count:N0}.");
        return new TextTokensTransformer(Environment, vocabulary, tokens, TokensColumnName, _text.Sentence1ColumnName, _text.Sentence2ColumnName);
    }

    private void ThrowIfAny(IReadOnlyList<string> errors)
    {
        if (errors.Count > 0)
            throw new ArgumentException(errors.Count == 1 ? $"{GetType().Name} cannot train: {errors[0]}" : $"{GetType().Name} cannot train:{string.Concat(errors.Select(e => $"{System.Environment.NewLine}- {e}"))}");
    }
}
