using MLDistributed.Protocol;
using MLDistributed.Training;
using MLDistributed.Training.Loop;

namespace Training.Tests.Loop;

[TestClass]
public sealed class ProgressMeterTests
{
    [TestMethod]
    public void Step_ThousandsBeforeTheTimeIsUp_TellsEveryLossOnceInOrder()
    {
        var told = new List<Progress>();
        var meter = new ProgressMeter(new Listener(told), totalSteps: 4500, new StandingClock());

        for (var step = 1; step <= 4500; step++)
            meter.Step(epoch: 0, step, loss: 1.0 / step, learningRate: 0.1, rows: 32);
        meter.Flush();
        meter.Flush();

        CollectionAssert.AreEqual(new[] { 2000, 2000, 500 }, told.Select(p => p.Recent.Count).ToArray());
        CollectionAssert.AreEqual(Enumerable.Range(1, 4500).Select(i => (long)i).ToArray(), told.SelectMany(p => p.Recent).Select(l => l.Step).ToArray());
        Assert.IsTrue(told.SelectMany(p => p.Recent).All(l => l.Loss == 1.0 / l.Step));
    }

    private sealed class StandingClock : TimeProvider
    {
        public override long GetTimestamp() => 0;
    }

    private sealed class Listener(List<Progress> told) : IRankReporter
    {
        public void Progress(Progress progress) => told.Add(progress);

        public void Started() { }

        public void Epoch(EpochEnded epoch) { }

        public void Checkpoint(string path, int epoch, long step) { }

        public void Log(LogLine line) { }
    }
}
