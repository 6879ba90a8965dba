using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Reads the advice of a refusal, does what it says, and trains.</summary>
[TestClass]
public sealed class HintTests : IDisposable
{
    private readonly FakeBackend _backend = new();
    private readonly MLContext _ml;

    public HintTests() => _ml = new MLContext(seed: 1).UseCluster(_backend);

    public void Dispose() => _backend.Dispose();

    [TestMethod]
    public void Fit_FeaturesOfAnotherType_TrainsAsTheHintSays()
    {
        var texts = Rows(i => i % 2 == 0 ? "red" : "blue");
        var vectors = Pairs(i => i % 2 == 0 ? new[] { "a", "b" } : ["b", "c"]);
        var loose = Lists(i => i % 2 == 0 ? new[] { "a" } : ["b", "c"]);
        (IDataView Data, string Hint)[] cases =
        [
            (Rows(i => (float)i), "ml.Transforms.Concatenate(\"X\", \"X\")"),
            (Rows(i => (double)i), Single + Concatenate),
            (Rows(i => (byte)i), Single + Concatenate),
            (Rows(i => (sbyte)i), Single + Concatenate),
            (Rows(i => (short)i), Single + Concatenate),
            (Rows(i => (ushort)i), Single + Concatenate),
            (Rows(i => i), Single + Concatenate),
            (Rows(i => (uint)i), Single + Concatenate),
            (Rows(i => (long)i), Single + Concatenate),
            (Rows(i => (ulong)i), Single + Concatenate),
            (Rows(i => i % 2 == 0), Single + Concatenate),
            (Pairs<double>(i => [i, 1]), Single),
            (Pairs<int>(i => [i, 1]), Single),
            (Pairs<bool>(i => [i % 2 == 0, true]), Single),
            (texts, "ml.Transforms.Text.FeaturizeText(\"X\")"),
            (vectors, "ml.Transforms.Text.FeaturizeText(\"X\")"),
            (loose, "ml.Transforms.Text.FeaturizeText(\"X\")"),
            (Keys(texts), "ml.Transforms.Conversion.MapKeyToVector(\"X\")"),
            (Keys(vectors), "ml.Transforms.Conversion.MapKeyToVector(\"X\", outputCountVector: true)"),
            (Keys(loose), "ml.Transforms.Conversion.MapKeyToVector(\"X\", outputCountVector: true)"),
        ];
        foreach (var (data, hint) in cases)
            Follow(data, hint, _ml.Regression.Trainers.DistributedNeuralNetwork("Value", "X"));
    }

    [TestMethod]
    public void Fit_FeaturesOfVaryingSize_TrainWithTheSizeThatTheHintAsksFor()
    {
        var trainer = _ml.Regression.Trainers.DistributedNeuralNetwork("Value", "X");
        StringAssert.EndsWith(Refusal(Lists<float>(i => [i, 1]), trainer), "as [VectorType(n)] on the property, or make a vector of so many with ml.Transforms.CustomMapping.");
        StringAssert.EndsWith(Refusal(Lists<double>(i => [i, 1]), trainer), $"with ml.Transforms.CustomMapping; then convert it with {Single}.");

        trainer.Fit(Pairs<float>(i => [i, 1]));
        var doubles = Lists<double>(i => [i, 1]);
        _ml.Transforms.CustomMapping((Cell<double[]> from, MadeDoubles to) => to.X = from.X, null).Append(Run(Single)).Append(trainer).Fit(doubles);
        Assert.HasCount(2, _backend.Jobs);
    }

    [TestMethod]
    public void Fit_ColumnsWithoutConversion_TrainWithACustomMapping()
    {
        var trainer = _ml.Regression.Trainers.DistributedNeuralNetwork("Value", "X");
        var dates = Rows(i => new DateTime(2026, 1, 1, i % 24, 0, 0, DateTimeKind.Utc));
        StringAssert.Contains(Refusal(dates, trainer), "with ml.Transforms.CustomMapping");
        StringAssert.Contains(Refusal(Rows(i => DateTimeOffset.UnixEpoch.AddDays(i)), trainer), "with ml.Transforms.CustomMapping");
        StringAssert.Contains(Refusal(Rows(i => new DataViewRowId((ulong)i, 0)), trainer), "with ml.Transforms.CustomMapping");
        _ml.Transforms.CustomMapping((Cell<DateTime> from, MadePair to) => to.X = [from.X.Hour, from.X.Day], null).Append(trainer).Fit(dates);

        var label = _ml.Regression.Trainers.DistributedNeuralNetwork("X");
        StringAssert.Contains(Refusal(dates, label), "Make a Single of it with ml.Transforms.CustomMapping");
        _ml.Transforms.CustomMapping((Cell<DateTime> from, Made<float> to) => to.X = from.X.Hour, null).Append(label).Fit(dates);

        var vectors = Pairs<float>(i => [i % 2, 1]);
        foreach (var refused in new[] { Refusal(vectors, label), Refusal(vectors, _ml.BinaryClassification.Trainers.DistributedNeuralNetwork("X")), Refusal(vectors, _ml.MulticlassClassification.Trainers.DistributedNeuralNetwork("X")) })
            StringAssert.Contains(refused, "Make one value a row of it with ml.Transforms.CustomMapping");
        _ml.Transforms.CustomMapping((Pair<float> from, Made<float> to) => to.X = from.X[0], null).Append(label).Fit(vectors);
        Assert.HasCount(3, _backend.Jobs);
    }

    [TestMethod]
    public void Fit_LabelOfAnotherType_TrainsAsTheHintSays()
    {
        IDataView[] values =
        [
            Rows(i => i % 2 == 0 ? "1" : "0"), Rows(i => i % 2 == 0), Rows(i => i % 2), Rows(i => (long)(i % 2)), Rows(i => (byte)(i % 2)), Rows(i => (sbyte)(i % 2)), Rows(i => (short)(i % 2)),
            Rows(i => (ushort)(i % 2)), Rows(i => (uint)(i % 2)), Rows(i => (ulong)(i % 2)), Rows(i => (float)(i % 2)), Rows(i => (double)(i % 2)), Rows(i => TimeSpan.FromHours(i % 2)),
        ];
        var (multiclass, binary, regression) = (_ml.MulticlassClassification.Trainers.DistributedNeuralNetwork("X"), _ml.BinaryClassification.Trainers.DistributedNeuralNetwork("X"), _ml.Regression.Trainers.DistributedNeuralNetwork("X"));
        foreach (var data in values)
            Follow(data, "ml.Transforms.Conversion.MapValueToKey(\"X\")", multiclass);
        foreach (var data in values.Where(v => v.Schema["X"].Type is not NumberDataViewType { RawType.Name: "Single" }))
            Follow(data, Single, regression);
        foreach (var data in values.Where(v => v.Schema["X"].Type is NumberDataViewType))
            Follow(data, "ml.Transforms.Conversion.ConvertType(\"X\", outputKind: DataKind.Boolean)", binary);

        Follow(Keys(Rows(i => (float)i)), "ml.Transforms.Conversion.MapKeyToValue(\"X\")", regression);
        Follow(Keys(Rows(i => i % 2 == 0)), "ml.Transforms.Conversion.MapKeyToValue(\"X\")", binary);
        Follow(Rows(i => i % 2 == 0 ? "yes" : "no"), "ml.Transforms.Conversion.MapValue(\"X\", new Dictionary<string, bool> { [\"yes\"] = true, [\"no\"] = false })", binary);
        // ConvertType would make true of both.
        Follow(Rows(i => 1 + (i % 2)), "ml.Transforms.Conversion.MapValue(\"X\", new Dictionary<Int32, bool> { [1] = true, [2] = false })", binary);
        StringAssert.Contains(Refusal(BareKeys(), binary), "Make a Boolean of it with ml.Transforms.CustomMapping");
        StringAssert.Contains(Refusal(BareKeys(), regression), "Make a Single of it with ml.Transforms.CustomMapping");
    }

    [TestMethod]
    public void Fit_WeightOfAnotherType_TrainsAsTheHintSays()
    {
        foreach (var data in new[] { Rows(i => 1.0 + i), Rows(i => 1 + i), Rows(i => true), Rows(i => "2"), Rows(i => (ushort)2) })
            Follow(data, Single, _ml.Regression.Trainers.DistributedNeuralNetwork("Value", exampleWeightColumnName: "X"));
    }

    private const string Single = "ml.Transforms.Conversion.ConvertType(\"X\", outputKind: DataKind.Single)";
    private const string Concatenate = ".Append(ml.Transforms.Concatenate(\"X\", \"X\"))";

    private void Follow<TTransformer>(IDataView data, string hint, IEstimator<TTransformer> trainer)
        where TTransformer : class, ITransformer
    {
        StringAssert.Contains(Refusal(data, trainer), hint);
        var jobs = _backend.Jobs.Count;
        Run(hint).Append(trainer).Fit(data);
        Assert.HasCount(jobs + 1, _backend.Jobs);
    }

    private static string Refusal<TTransformer>(IDataView data, IEstimator<TTransformer> trainer)
        where TTransformer : class, ITransformer =>
        Assert.ThrowsExactly<ArgumentException>(() => trainer.Fit(data), $"of {data.Schema["X"].Type}").Message;

    // The hints' words, as code.
    private IEstimator<ITransformer> Run(string hint) => hint switch
    {
        Single => _ml.Transforms.Conversion.ConvertType("X", outputKind: DataKind.Single),
        Single + Concatenate => _ml.Transforms.Conversion.ConvertType("X", outputKind: DataKind.Single).Append(_ml.Transforms.Concatenate("X", "X")),
        "ml.Transforms.Concatenate(\"X\", \"X\")" => _ml.Transforms.Concatenate("X", "X"),
        "ml.Transforms.Conversion.ConvertType(\"X\", outputKind: DataKind.Boolean)" => _ml.Transforms.Conversion.ConvertType("X", outputKind: DataKind.Boolean),
        "ml.Transforms.Text.FeaturizeText(\"X\")" => _ml.Transforms.Text.FeaturizeText("X"),
        "ml.Transforms.Conversion.MapKeyToVector(\"X\")" => _ml.Transforms.Conversion.MapKeyToVector("X"),
        "ml.Transforms.Conversion.MapKeyToVector(\"X\", outputCountVector: true)" => _ml.Transforms.Conversion.MapKeyToVector("X", outputCountVector: true),
        "ml.Transforms.Conversion.MapValueToKey(\"X\")" => _ml.Transforms.Conversion.MapValueToKey("X"),
        "ml.Transforms.Conversion.MapKeyToValue(\"X\")" => _ml.Transforms.Conversion.MapKeyToValue("X"),
        "ml.Transforms.Conversion.MapValue(\"X\", new Dictionary<string, bool> { [\"yes\"] = true, [\"no\"] = false })" => _ml.Transforms.Conversion.MapValue("X", new Dictionary<string, bool> { ["yes"] = true, ["no"] = false }),
        "ml.Transforms.Conversion.MapValue(\"X\", new Dictionary<Int32, bool> { [1] = true, [2] = false })" => _ml.Transforms.Conversion.MapValue("X", new Dictionary<int, bool> { [1] = true, [2] = false }),
        _ => throw new AssertFailedException($"The hint {hint} is not tried."),
    };

    private IDataView Keys(IDataView data) => _ml.Transforms.Conversion.MapValueToKey("X").Fit(data).Transform(data);

    private IDataView Rows<T>(Func<int, T> value) => _ml.Data.LoadFromEnumerable(Enumerable.Range(0, 40).Select(i => new Cell<T> { X = value(i), Value = i, Features = [i, 1] }).ToList());

    private IDataView Pairs<T>(Func<int, T[]> values) => _ml.Data.LoadFromEnumerable(Enumerable.Range(0, 40).Select(i => new Pair<T> { X = values(i), Value = i, Features = [i, 1] }).ToList());

    private IDataView Lists<T>(Func<int, T[]> values) => _ml.Data.LoadFromEnumerable(Enumerable.Range(0, 40).Select(i => new Cell<T[]> { X = values(i), Value = i, Features = [i, 1] }).ToList());

    private IDataView BareKeys() => _ml.Data.LoadFromEnumerable(Enumerable.Range(0, 40).Select(i => new BareKey { X = (uint)(i % 2), Features = [i, 1] }).ToList());

    private class Row
    {
        public float Value { get; set; }

        [VectorType(2)]
        public float[] Features { get; set; } = [];
    }

    private sealed class Cell<T> : Row
    {
        public T X { get; set; } = default!;
    }

    private sealed class Pair<T> : Row
    {
        [VectorType(2)]
        public T[] X { get; set; } = [];
    }

    private sealed class BareKey : Row
    {
        [KeyType(2)]
        public uint X { get; set; }
    }

    private sealed class Made<T>
    {
        public T X { get; set; } = default!;
    }

    private sealed class MadePair
    {
        [VectorType(2)]
        public float[] X { get; set; } = [];
    }

    private sealed class MadeDoubles
    {
        [VectorType(2)]
        public double[] X { get; set; } = [];
    }
}
