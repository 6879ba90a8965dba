using Microsoft.ML.Runtime;

namespace Microsoft.ML.Distributed.Tests.Models;

/// <summary>What a job brings of the transformer around its network: read as it was written, and nothing else.</summary>
[TestClass]
public sealed class ModelFrameTests
{
    private static readonly string[] s_tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat"];
    private readonly MLContext _ml = new();

    private IHostEnvironment Environment => _ml;

    [TestMethod]
    public void Read_WhatWasWritten_IsTheSame()
    {
        foreach (var frame in Frames())
        {
            var bytes = frame.ToFile()!.Content.ToArray();

            var again = ModelFrame.Read(Environment, bytes);

            Assert.AreEqual(frame.GetType(), again.GetType());
            CollectionAssert.AreEqual(bytes, again.ToFile()!.Content.ToArray());
        }
    }

    [TestMethod]
    public void Read_DamagedFile_IsRefusedOrReadButNeverFailsOtherwise()
    {
        var random = new Random(7);
        foreach (var frame in Frames())
        {
            var bytes = frame.ToFile()!.Content.ToArray();
            for (var length = 0; length < bytes.Length; length++)
                Assert.ThrowsExactly<FormatException>(() => ModelFrame.Read(Environment, bytes[..length]), $"{length} bytes");
            // Not the labels' part, which ML.NET's own loader reads: by a count in it, for ever.
            var end = frame is EntityFrame ? bytes.AsSpan().IndexOf("CML\0DVB"u8) : bytes.Length;
            for (var i = 0; i < 500; i++)
            {
                var damaged = bytes.ToArray();
                damaged[random.Next(end)] = (byte)random.Next(256);
                try
                {
                    ModelFrame.Read(Environment, damaged);
                }
                catch (FormatException)
                {
                    // Refused, in words.
                }
            }
        }
    }

    [TestMethod]
    public void Read_AnotherModelOfMlNets_IsRefused()
    {
        var rows = _ml.Data.LoadFromEnumerable(new[] { new Row() });
        var bytes = ModelFrame.Write(_ml.Transforms.CopyColumns("Other", "Label").Fit(rows));

        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => ModelFrame.Read(Environment, bytes)).Message, "what stands around its network cannot be read here");
    }

    private IEnumerable<ModelFrame> Frames()
    {
        var vocabulary = TextVocabulary.FromTokens(s_tokens);
        var tokens = new TextTokensTransformer(Environment, vocabulary, 16, "Tokens", "Text", null);
        yield return new PredictionFrame(Environment, tokens);
        yield return new PredictionFrame(Environment, tokens, [("Score", "Probabilities"), ("PredictedLabel", "Verdict")]);
        yield return new PredictionFrame(Environment, new ModuleInputsTransformer(Environment, "Net.Inputs", [new InputColumn("User", 1, false, 20), new InputColumn("Prices", 2, true, 0)]));
        var rows = _ml.Data.LoadFromEnumerable(new[] { new Row { Label = ["B-X", "O"] } });
        var labels = _ml.Transforms.Conversion.MapValueToKey("Label").Fit(rows).Transform(rows).Schema["Label"];
        yield return new EntityFrame(Environment, new EntityColumns("Text", "PredictedLabel", "Score"), vocabulary, LabelKeys.Of(labels));
    }

    private sealed class Row
    {
        public string[] Label { get; set; } = [];
    }
}
