using MLDistributed.Protocol;
using Training.Tests.Loop;

namespace Training.Tests.Data;

[TestClass]
public sealed class ByteFeaturesTests
{
    [TestMethod, DataRow(true), DataRow(false)]
    public void Train_OnBytes_IsAsOnTheSameNumbersAsFloats(bool isScaled)
    {
        const int Size = 37; // no multiple of a vector's
        using var folder = new TempFolder();
        float[] Features(int row) => [.. Enumerable.Range(0, Size).Select(i => (float)((row * 31 + i * 17 + (i % 3 == row % 3 ? 90 : 0)) % 256))];
        foreach (var element in Enum.GetValues<FeatureElement>())
            Datasets.Write(folder[$"{element}"], Size, 150, Features, i => i % 3, element: element);
        var spec = Loop.Cluster.Spec(s =>
        {
            s.Module.Mlp.InputSize = Size;
            s.Optimizer.LearningRate = isScaled ? 0.05 : 1e-5;
            if (isScaled)
                s.Data.Features = new FeatureScaling { Mean = { Enumerable.Range(0, Size).Select(i => 100f + i) }, Scale = { Enumerable.Repeat(1 / 70f, Size) } };
        });

        var runs = Enum.GetValues<FeatureElement>().Select(e => Loop.Cluster.Train(spec, 2, folder[$"{e}"]).ShouldSucceed()).ToArray();

        CollectionAssert.AreEqual(runs[0].Losses, runs[1].Losses);
        CollectionAssert.AreEqual(runs[0].Weights, runs[1].Weights);
    }
}
