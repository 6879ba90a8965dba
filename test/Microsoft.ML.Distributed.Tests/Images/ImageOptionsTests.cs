namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class ImageOptionsTests
{
    [TestMethod]
    [DataRow(false, false, null, 1, 1e-3, DisplayName = "from scratch")]
    [DataRow(false, false, 0.5, 0.5, 1e-3, DisplayName = "from scratch, with a factor")]
    [DataRow(true, false, null, 0.3, 1e-3, DisplayName = "fine-tuned")]
    [DataRow(true, false, 0.5, 0.5, 1e-3, DisplayName = "fine-tuned, with a factor")]
    [DataRow(true, false, 1.0, 1, 1e-4, DisplayName = "fine-tuned at one rate")]
    [DataRow(true, true, null, 1, 1e-3, DisplayName = "the head alone")]
    public void Rates_ByDefault_FollowWhatIsTrained(bool hasWeights, bool isFrozen, double? asked, double factor, double rate)
    {
        var options = new DistributedImageClassificationTrainer.Options { Weights = hasWeights ? new ImageWeights([]) : null, FreezeBackbone = isFrozen, StageLearningRateFactor = asked };
        Assert.AreEqual((factor, rate), (options.StageFactor, options.AutomaticRate));
    }
}
