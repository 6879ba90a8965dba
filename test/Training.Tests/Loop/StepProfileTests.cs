using MLDistributed.Training.Profiling;

namespace Training.Tests.Loop;

[TestClass]
public sealed class StepProfileTests
{
    [TestMethod]
    public void Train_WithAProfile_TellsWhereTheTimeOfItsStepsWent()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 320);
        StepProfile[] profiles = [new(), new()];
        var run = Cluster.Train(Cluster.Spec(s => s.Epochs = 4), 2, folder["data"], configure: e => e.Value with { Profile = profiles[e.Rank] }).ShouldSucceed();
        var result = run.Results[0]!.Result!;
        foreach (var profile in profiles)
        {
            foreach (var phase in Enum.GetValues<StepPhase>())
                Assert.IsTrue(profile.Of(phase) is { Median: >= 0, Mean: > 0 }, $"{phase}");
            var step = Enum.GetValues<StepPhase>().Sum(phase => profile.Of(phase).Mean);
            Assert.IsTrue(step * result.Steps / 2 <= result.TrainingSeconds * 1e6, $"{step} us a step of {result.Steps} in {result.TrainingSeconds} s");
        }
    }

    [TestMethod]
    public void Clear_InAStep_LeavesTheStepsThatFollow()
    {
        var profile = new StepProfile();
        Step();
        Step();
        Assert.IsGreaterThan(0, profile.Of(StepPhase.Compute).Median);

        profile.Lap(StepPhase.Compute);
        profile.Clear();
        profile.Lap(StepPhase.Rest);
        Assert.AreEqual((0.0, 0.0), profile.Of(StepPhase.Compute));

        Step();
        Assert.IsGreaterThan(0, profile.Of(StepPhase.Compute).Median);

        void Step()
        {
            Thread.SpinWait(1000);
            profile.Lap(StepPhase.Compute);
            profile.Lap(StepPhase.Rest);
        }
    }

    [TestMethod]
    public void Of_NoSteps_IsZero()
    {
        Assert.AreEqual((0.0, 0.0), new StepProfile().Of(StepPhase.Compute));
    }
}
