using System.Collections.Concurrent;
using MLDistributed.Protocol;

namespace Training.Tests.Loop;

/// <summary>What the steps that made a model saw, over attempts that ended in failures: a step counts when a checkpoint or the end came after it.</summary>
internal sealed class Lineage
{
    private readonly List<(long Step, long Row)> _kept = [];
    private ConcurrentQueue<(long Step, long Row)> _attempt = [];

    /// <summary>Steps that are safe.</summary>
    public long Step { get; private set; }

    /// <summary>Trains an attempt, up to a failure when there is to be one.</summary>
    public Run Train(JobSpec spec, int world, string data, string? resume, int failingRank = -1, long failingStep = 0, bool waitForCheckpoints = true)
    {
        _attempt = [];
        var run = Cluster.Train(spec, world, data, resume, configure: e => e.Value with
        {
            WaitForCheckpoints = waitForCheckpoints,
            RowTaken = (step, row) =>
            {
                _attempt.Enqueue((step, row));
                if (e.Rank == failingRank && step >= failingStep)
                    throw new InvalidOperationException("This rank is lost.");
            },
        });
        if (run.Results[0] is not null)
            Keep(run.Result.Steps);
        return run;
    }

    /// <summary>The attempt's last checkpoint, or the one before it, as a file.</summary>
    public string? Checkpoint(Run run, TempFolder folder, string? before)
    {
        if (run.Recorders[0].Checkpoints.LastOrDefault() is not { Content: { } content } last)
            return before;
        Keep(last.Step);
        File.WriteAllBytes(folder["checkpoint"], content);
        return folder["checkpoint"];
    }

    /// <summary>Every epoch has seen every row once.</summary>
    public void ShouldBePermutations(int epochs, int rows, long stepsPerEpoch)
    {
        Assert.HasCount(epochs * rows, _kept);
        foreach (var epoch in _kept.GroupBy(k => (k.Step - 1) / stepsPerEpoch))
            Assert.AreEqual(rows, epoch.Select(k => k.Row).Distinct().Count(), $"epoch {epoch.Key}");
    }

    private void Keep(long upTo)
    {
        _kept.AddRange(_attempt.Where(k => k.Step > Step && k.Step <= upTo));
        Step = upTo;
    }
}
