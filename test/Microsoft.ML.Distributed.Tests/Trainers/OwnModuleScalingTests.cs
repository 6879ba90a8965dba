using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class OwnModuleScalingTests
{
    [TestMethod]
    public void Describe_NamedInputs_LeavesNumbersStandardisedAndKeysAndLabelsAsTheyAre()
    {
        var template = new TorchModuleSpec
        {
            Type = "Shop.Net",
            Inputs = { new ModuleInput { Name = "Price", Size = 1 }, new ModuleInput { Name = "User", Size = 1, KeyCount = 9 }, new ModuleInput { Name = "Sizes", Size = 2, IsVector = true } },
            Labels = { new ModuleInput { Name = "Amount", Size = 1 } },
        };
        var module = new OwnModule(template, () => [1]);
        var spec = new JobSpec { Module = module.ToSpec(new DistributedRegressionTrainer.Options(), inputs: 5, outputs: 1), Data = new DataSpec { Features = new FeatureScaling { Mean = { 2, 2, 2, 2, 2 }, Scale = { 3, 3, 3, 3, 3 } } } };

        module.Describe(spec, new DistributedRegressionTrainer.Options(), features: null!);

        CollectionAssert.AreEqual(new float[] { 2, 0, 2, 2, 0 }, spec.Data.Features.Mean.ToArray());
        CollectionAssert.AreEqual(new float[] { 3, 1, 3, 3, 1 }, spec.Data.Features.Scale.ToArray());
    }
}
