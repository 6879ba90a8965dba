using Google.Protobuf;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class TextScorerTests
{
    private const int Tokens = 20;

    [TestMethod]
    [DataRow(true, MLDistributed.Protocol.TextPooling.Mean, Activation.Gelu, MlTask.Multiclass)]
    [DataRow(false, MLDistributed.Protocol.TextPooling.First, Activation.Relu, MlTask.Regression)]
    [DataRow(false, MLDistributed.Protocol.TextPooling.Mean, Activation.Gelu, MlTask.Multiclass)]
    [DataRow(true, MLDistributed.Protocol.TextPooling.Mean, Activation.Gelu, MlTask.Tagging)]
    public void Score_AnyEncoder_IsWhatOnnxRuntimeMakesOfTheFile(bool normFirst, MLDistributed.Protocol.TextPooling pooling, Activation activation, MlTask task)
    {
        var (spec, onnx) = Encoder(normFirst, pooling, activation, task);
        using var scorer = NetworkScorer.Read(onnx, spec);
        using var reference = new OnnxRuntimeScorer(onnx, Tokens, scorer.OutputSize);
        var (run, expect) = (scorer.CreateRunner(), reference.CreateRunner());
        float[][] rows =
        [
            [2, 5, 3, .. new float[Tokens - 3]], [2, 9, 8, 7, 3, 4, 4, 3, .. new float[Tokens - 8]], [.. Enumerable.Repeat(6f, Tokens)], new float[Tokens],
            [1, 500, float.NaN, -7, float.PositiveInfinity, 0, 3, .. new float[Tokens - 7]], [2, 5, 3, .. new float[Tokens - 3]],
        ];

        foreach (var row in rows)
        {
            var (score, expected) = (new float[scorer.OutputSize], new float[scorer.OutputSize]);
            run(row, score);
            expect(row, expected);
            // Of a tagged row what is behind its last token means nothing.
            var used = task == MlTask.Tagging ? Math.Max(1, Array.FindLastIndex(row, id => id > 0) + 1) * spec.Module.Text.OutputSize : score.Length;
            for (var i = 0; i < used; i++)
                Assert.AreEqual(expected[i], score[i], 1e-5, $"row [{string.Join(", ", row)}], output {i}");
        }
    }

    [TestMethod]
    public void Read_ModelOfAnother_IsRefused()
    {
        var (spec, onnx) = Encoder(true, MLDistributed.Protocol.TextPooling.Mean, Activation.Gelu, MlTask.Multiclass);
        var other = ModelProto.Parser.ParseFrom(onnx);
        other.Graph.Initializer.Single(t => t.Name == "hidden").RawData = ByteString.CopyFrom(BitConverter.GetBytes(1f));
        Refused(other.ToByteArray(), spec, "\"hidden\"");
        other = ModelProto.Parser.ParseFrom(onnx);
        other.Graph.Node[3].OpType = "Exp";
        Refused(other.ToByteArray(), spec, "Node 3");
        Refused(onnx[..^1], spec, "cannot be read");
        Refused(onnx[..100], spec, "The model has");
        var wider = spec.Clone();
        wider.Module.Text.Heads = 3;
        Refused(onnx, wider, "a multiple");

        static void Refused(byte[] file, JobSpec job, string expected) =>
            StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => NetworkScorer.Read(file, job)).Message, expected);
    }

    internal static (JobSpec Spec, byte[] Onnx) Encoder(bool normFirst, MLDistributed.Protocol.TextPooling pooling, Activation activation, MlTask task)
    {
        var spec = new JobSpec
        {
            Task = task,
            Module = new ModuleSpec
            {
                Text = new TextSpec
                {
                    InputSize = Tokens, OutputSize = task == MlTask.Regression ? 1 : 3, Tags = task == MlTask.Tagging ? new TagsSpec() : null, VocabularySize = 30, SeparatorId = 3, Width = 20, Layers = 2, Heads = 4, FeedForwardSize = 18, Positions = 24,
                    NormFirst = normFirst, Activation = activation, Pooling = pooling, NormEpsilon = 1e-5,
                },
            },
            Data = new DataSpec { Label = task == MlTask.Regression ? new LabelScaling { Mean = 2, Scale = 0.5f } : null },
        };
        var random = new Random(4);
        var tensors = TextTensors.Of(spec.Module.Text).ToDictionary(t => t.Name, t => RandomNetworks.Values(random, (int)t.Length, 0.5f));
        return (spec, OnnxTextWriter.Write(spec, tensors).ToByteArray());
    }
}
