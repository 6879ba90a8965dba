using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using Microsoft.ML.Transforms;

namespace Microsoft.ML.Distributed;

/// <summary>What the trainers of whole texts do: they make token ids of the texts, and train an encoder of them on a cluster.</summary>
public abstract class DistributedTextTrainer : DistributedEncoderTrainer
{
    private readonly TextOptions _text;
    private readonly NeuralNetworkOptions _training;

    private protected DistributedTextTrainer(IHostEnvironment environment, TextOptions text, NeuralNetworkOptions training)
        : base(environment, text, training) => (_text, _training) = (text, training);

    private protected abstract INetworkTrainer<ITransformer> MakeTrainer(NeuralNetworkOptions options, TextNetwork network);

    /// <summary>The prediction's output columns, and what they are to be called.</summary>
    private protected virtual IEnumerable<(string From, string To)> Outputs() => [(DefaultColumnNames.Score, _text.ScoreColumnName)];

    private protected override TransformerChain<ITransformer> Train(IDataView input) => Prepare(input, _training.CancellationToken).Fit();

    private protected override string Submit(TrainingCluster cluster, IDataView input, CancellationToken cancellation) => Prepare(input, cancellation).Submit(cluster, cancellation);

    private protected override SchemaShape OutputSchema(SchemaShape input)
    {
        var tokens = new SchemaShape.Column(TokensColumnName, SchemaShape.Column.VectorKind.Vector, NumberDataViewType.Single, false);
        var schema = new SchemaShape(input.Where(c => c.Name != TokensColumnName).Append(tokens));
        schema = MakeTrainer(TrainingOptions(), Sketch((LeastVocabulary, 0))).GetOutputSchema(schema);
        foreach (var (from, to) in Renamed())
            schema = new ColumnCopyingEstimator(Environment, (to, from)).GetOutputSchema(schema);
        return schema;
    }

    // Token ids, ML.NET's prediction transformer, and copies of its outputs where they are to have other names.
    private FramedTraining<ITransformer> Prepare(IDataView input, CancellationToken cancellation)
    {
        var pass = new TextPass(input, _text.Sentence1ColumnName, _text.Sentence2ColumnName, cancellation);
        var (vocabulary, most) = Measure(input, v => pass.Longest(new TextTokenizer(v), MostTokens), cancellation);
        var tokens = new TextTokensTransformer(Environment, vocabulary, most, TokensColumnName, _text.Sentence1ColumnName, _text.Sentence2ColumnName);
        var options = TrainingOptions();
        options.ValidationSet = _training.ValidationSet is { } validation ? tokens.Transform(validation) : null;
        var network = new TextNetwork(_text, (vocabulary.Tokens.Count, vocabulary.SeparatorId));
        return new(MakeTrainer(options, network), new PredictionFrame(Environment, tokens, [.. Renamed()]), tokens.Transform(input));
    }

    private protected override IEnumerable<string> ValidateOptions()
    {
        foreach (var error in base.ValidateOptions())
            yield return error;
        // The score's own name was looked at.
        foreach (var (from, _) in Outputs().Where(o => o.From != DefaultColumnNames.Score && string.IsNullOrEmpty(o.To)))
            yield return $"{(from == DefaultColumnNames.PredictedLabel ? "Output" : from)}ColumnName is empty, expected the name of the column to make.";
        if (Outputs().GroupBy(o => o.To, StringComparer.Ordinal).FirstOrDefault(g => g.Count() > 1) is { Key.Length: > 0 } twice)
            yield return $"The output columns {string.Join(", ", twice.Select(o => o.From))} are all to be called \"{twice.Key}\", expected a name for each.";
    }

    private IEnumerable<(string From, string To)> Renamed() => Outputs().Where(o => o.From != o.To);
}
