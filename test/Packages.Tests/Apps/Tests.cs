using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;

#if XUNIT
using Test = Xunit.FactAttribute;
using Assert = Xunit.Assert;
#else
using Test = Microsoft.VisualStudio.TestTools.UnitTesting.TestMethodAttribute;
using Assert = Microsoft.VisualStudio.TestTools.UnitTesting.Assert;

[Microsoft.VisualStudio.TestTools.UnitTesting.TestClass]
#endif
public sealed class Tests
{
    [Test]
    public void Fit_InATest_Learns()
    {
        var ml = new MLContext(seed: 1);
        var data = ml.Data.LoadFromEnumerable(Enumerable.Range(0, 400).Select(i => new Row { Label = i % 3 == 0, Features = [i % 3, i % 5] }));
        var model = ml.BinaryClassification.Trainers.DistributedNeuralNetwork(epochs: 20).Fit(data);
        var accuracy = ml.BinaryClassification.Evaluate(model.Transform(data)).Accuracy;
#if XUNIT
        Assert.Equal(1, accuracy, 0.05);
#else
        Assert.AreEqual(1, accuracy, 0.05);
#endif
    }

    private sealed class Row
    {
        public bool Label { get; set; }

        [VectorType(2)]
        public float[] Features { get; set; } = [];
    }
}
