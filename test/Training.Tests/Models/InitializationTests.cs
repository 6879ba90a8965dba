using MLDistributed.Protocol;
using MLDistributed.Training.Models;

namespace MLDistributed.Training.Tests.Models;

[TestClass]
public sealed class InitializationTests
{
    [TestMethod]
    public void Fill_OutputBias_IsThatOfTheLastLayerAlone()
    {
        var spec = new MlpSpec { InputSize = 4, HiddenSizes = { 3 }, OutputSize = 3 };
        var plain = Fill(spec);
        spec.OutputBias.Add([0.5f, -2, 1.5f]);

        var biased = Fill(spec);

        var start = (int)MlpSource.LayoutOf(spec).Parameters.Single(p => p.Name == "layers.1.bias").Start;
        CollectionAssert.AreEqual(new[] { 0.5f, -2, 1.5f }, biased[start..(start + 3)]);
        Array.Clear(biased, start, 3);
        CollectionAssert.AreEqual(plain, biased);
    }

    // Nothing has taught it: what is unknown is neither of the known.
    [TestMethod]
    public void Fill_Category_IsNothingForWhatIsUnknownAndRandomForEachKey()
    {
        var spec = new MlpSpec { InputSize = 2, HiddenSizes = { 3 }, OutputSize = 1, Categories = { new CategorySpec { KeyCount = 500, Width = 4 } } };

        var table = Fill(spec)[..(501 * 4)];

        CollectionAssert.AreEqual(new float[4], table[..4]);
        Assert.AreEqual(1, table[4..].Chunk(4).Average(row => row.Sum(x => x * x)), 0.1, "A key counts as a standardised number does.");
        Assert.HasCount(2000, table[4..].Distinct());
    }

    private static unsafe float[] Fill(MlpSpec spec)
    {
        var layout = MlpSource.LayoutOf(spec);
        var parameters = new float[layout.Parameters.Max(p => p.Start + p.Length)];
        fixed (float* first = parameters)
            Initialization.Fill(layout, spec, seed: 1, first);
        return parameters;
    }
}
