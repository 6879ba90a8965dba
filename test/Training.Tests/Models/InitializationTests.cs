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

    private static unsafe float[] Fill(MlpSpec spec)
    {
        var layout = MlpSource.LayoutOf(spec);
        var parameters = new float[layout.Parameters.Max(p => p.Start + p.Length)];
        fixed (float* first = parameters)
            Initialization.Fill(layout, spec, seed: 1, first);
        return parameters;
    }
}
