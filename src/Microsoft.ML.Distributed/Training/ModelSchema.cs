using Google.Protobuf;
using Microsoft.ML.Data;
using Microsoft.ML.Data.IO;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>
/// A trainer's columns, kept with its job: names, types, the label's keys. With them any app makes the transformer that Fit
/// makes. As ML.NET's own transformers keep the schema that they were trained with.
/// </summary>
internal static class ModelSchema
{
    /// <summary>Features, label and, where there is one, weight or group. Without the slots' names where these are too long; empty when the label's are.</summary>
    public static ByteString Write(IHostEnvironment environment, DataViewSchema schema, TrainingColumns columns)
    {
        foreach (var hasSlotNames in (bool[])[true, false])
        {
            var builder = new DataViewSchema.Builder();
            builder.AddColumn(columns.Features, schema[columns.Features].Type, hasSlotNames ? schema[columns.Features].Annotations : null);
            foreach (var name in columns.All.Skip(1))
                builder.AddColumn(name, schema[name].Type, schema[name].Annotations);
            using var stream = new MemoryStream();
            var written = builder.ToSchema();
            new BinarySaver(environment, new BinarySaver.Arguments { Silent = true }).SaveData(stream, new EmptyDataView(environment, written), [.. Enumerable.Range(0, written.Count)]);
            if (stream.Length <= JobSpecRules.MaxModelSchemaBytes)
                return ByteString.CopyFrom(stream.GetBuffer(), 0, (int)stream.Length);
        }

        return ByteString.Empty;
    }

    /// <summary>The transformer of a trained network, as the trainer that made the schema would return it.</summary>
    public static ITransformer MakeTransformer(IHostEnvironment environment, TrainedNetwork network, ByteString bytes, PredictionFrame? frame = null)
    {
        var schema = new BinaryLoader(environment, new BinaryLoader.Arguments(), new MemoryStream(bytes.ToByteArray())).Schema;
        var (features, label) = (schema[0].Name, schema[1].Name);
        var third = schema.Count > 2 ? schema[2].Name : null;
        return network.Spec.Task switch
        {
            MlTask.Multiclass => Framed(new DistributedMulticlassTrainer(environment, new DistributedMulticlassTrainer.Options { FeatureColumnName = features, LabelColumnName = label, ExampleWeightColumnName = third }, predictedLabel: frame?.PredictedLabel ?? DefaultColumnNames.PredictedLabel).Restore(network, schema)),
            MlTask.Binary => Framed(new DistributedBinaryTrainer(environment, new DistributedBinaryTrainer.Options { FeatureColumnName = features, LabelColumnName = label, ExampleWeightColumnName = third }).Restore(network, schema)),
            MlTask.Ranking => Framed(new DistributedRankingTrainer(environment, new DistributedRankingTrainer.Options { FeatureColumnName = features, LabelColumnName = label, RowGroupColumnName = third ?? "" }).Restore(network, schema)),
            MlTask.Own => DistributedOutputsTrainer.Chain(environment, network, features),
            _ => Framed(new DistributedRegressionTrainer(environment, new DistributedRegressionTrainer.Options { FeatureColumnName = features, LabelColumnName = label, ExampleWeightColumnName = third }).Restore(network, schema)),
        };

        ITransformer Framed<T>(T prediction)
            where T : class, ITransformer => frame?.Around(prediction) ?? prediction;
    }

    /// <summary>A job's specification as a model keeps it.</summary>
    public static JobSpec Without(JobSpec spec)
    {
        var kept = spec.Clone();
        kept.ModelSchema = ByteString.Empty;
        kept.ModelFrame = null;
        return kept;
    }
}
