using Google.Protobuf;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Jobs whose transformer cannot be made of what their coordinator has of it.</summary>
[TestClass]
public sealed class AttachTests
{
    private readonly MLContext _ml = new();

    [TestMethod]
    public async Task Attach_FrameWithoutItsColumns_IsRefusedBeforeTheWait()
    {
        var script = Job(hasFrame: true, ByteString.Empty);
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        var e = await Assert.ThrowsExactlyAsync<ClusterException>(() => cluster.AttachAsync("job-1", _ml));

        Assert.AreEqual("Job job-1 has what stands around its network and no columns with it, expected both. Fetch its files instead: `mldist models download job-1`.", e.Message);
        Assert.DoesNotContain("WatchJob", script.Calls);
    }

    [TestMethod]
    [DataRow(true)]
    [DataRow(false)]
    public async Task Attach_ColumnsThatAreNone_NamesTheJobAndTheWayToItsFiles(bool hasFrame)
    {
        await using var coordinator = await FakeCoordinator.StartAsync(Job(hasFrame, ByteString.CopyFromUtf8("no columns")));
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        var e = await Assert.ThrowsExactlyAsync<ClusterException>(() => cluster.AttachAsync("job-1", _ml));

        StringAssert.StartsWith(e.Message, "Job job-1's transformer cannot be made: its columns cannot be read here (");
        StringAssert.EndsWith(e.Message, "`mldist models download job-1`.");
    }

    private Script Job(bool hasFrame, ByteString columns)
    {
        var script = new Script { Attached = Script.Spec.Clone() };
        script.Attached.ModelSchema = columns;
        if (!hasFrame)
            return script;
        IHostEnvironment environment = _ml;
        var frame = new PredictionFrame(environment, new ModuleInputsTransformer(environment, "Net.Inputs", [new InputColumn("User", 1, false, 20)])).ToFile()!;
        script.Attached.ModelFrame = new() { FileId = frame.Id.Text, SizeBytes = frame.Content.Length };
        script.JobFiles.Add((frame.Id.Text, frame.Content.ToArray()));
        return script;
    }
}
