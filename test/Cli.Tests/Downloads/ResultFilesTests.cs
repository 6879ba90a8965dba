using System.Text.Json;
using Grpc.Core;
using MLDistributed.Cli;
using MLDistributed.Cli.Downloads;
using MLDistributed.Protocol;

namespace Cli.Tests.Downloads;

[TestClass]
public sealed class ResultFilesTests
{
    private readonly string _root = Directory.CreateTempSubdirectory("mldist-test-").FullName;
    private readonly FakeBlobs _blobs = new();

    public TestContext TestContext { get; set; } = null!;

    private string Folder => Path.Combine(_root, "out");

    [TestCleanup]
    public void Clean() => Directory.Delete(_root, recursive: true);

    [TestMethod]
    public async Task Save_OfAResult_HasEachFileWholeAndTheNumbers()
    {
        var files = await SaveAsync(Job(("model.bin", _blobs.Add("the model"u8.ToArray())), ("weights.bin", _blobs.Add([]))));

        CollectionAssert.AreEqual(new[] { "metrics.json", "model.bin", "weights.bin" }, Names(Folder));
        CollectionAssert.AreEqual(new[] { "metrics.json", "model.bin", "weights.bin" }, files.ToArray());
        Assert.AreEqual("the model", await File.ReadAllTextAsync(Path.Combine(Folder, "model.bin"), TestContext.CancellationToken));
        using var metrics = JsonDocument.Parse(await File.ReadAllTextAsync(Path.Combine(Folder, "metrics.json"), TestContext.CancellationToken));
        Assert.AreEqual(0.5, metrics.RootElement.GetProperty("result").GetProperty("trainingLoss").GetDouble());
    }

    [TestMethod]
    public async Task Save_ConnectionCutTwice_GoesOnWhereItWas()
    {
        var job = Job(("model.bin", _blobs.Add("0123456789abcdef"u8.ToArray())));
        _blobs.Cuts.Enqueue(4);
        _blobs.Cuts.Enqueue(8);

        await SaveAsync(job);

        CollectionAssert.AreEqual(new long[] { 0, 4, 12 }, _blobs.Offsets);
        Assert.AreEqual("0123456789abcdef", await File.ReadAllTextAsync(Path.Combine(Folder, "model.bin"), TestContext.CancellationToken));
    }

    [TestMethod]
    [DataRow(false)]
    [DataRow(true)]
    public async Task Save_DamagedOnTheWay_LeavesNothing(bool isLonger)
    {
        var job = Job(("a.bin", _blobs.Add("whole"u8.ToArray())), ("model.bin", _blobs.Add("the model"u8.ToArray(), damaged: isLonger ? "the model and more"u8.ToArray() : "thE model"u8.ToArray())));

        var e = await Assert.ThrowsExactlyAsync<CliException>(() => SaveAsync(job));

        StringAssert.Contains(e.Message, isLonger ? "is longer than its 9 bytes" : "damages data");
        Assert.IsFalse(Directory.Exists(Folder), "It was made for this.");
    }

    [TestMethod]
    public async Task Save_Cancelled_LeavesNothing()
    {
        Directory.CreateDirectory(Folder);
        using var cancellation = new CancellationTokenSource();
        var chunks = 0;
        _blobs.OnChunk = () =>
        {
            if (++chunks == 3)
                cancellation.Cancel();
        };

        await Assert.ThrowsAsync<Exception>(() => SaveAsync(Job(("model.bin", _blobs.Add(new byte[100]))), cancellation: cancellation.Token));

        Assert.IsEmpty(Names(Folder));
        Assert.AreEqual(3, chunks);
    }

    [TestMethod]
    [DataRow("model.bin")]
    [DataRow("metrics.json")]
    public async Task Save_OverAFile_NeedsForce(string name)
    {
        Directory.CreateDirectory(Folder);
        await File.WriteAllTextAsync(Path.Combine(Folder, name), "mine", TestContext.CancellationToken);
        var job = Job(("model.bin", _blobs.Add("the model"u8.ToArray())));

        var e = await Assert.ThrowsExactlyAsync<CliException>(() => SaveAsync(job));

        StringAssert.Contains(e.Message, $"\"{Path.Combine(Folder, name)}\" is there already");
        CollectionAssert.AreEqual(new[] { name }, Names(Folder));
        Assert.AreEqual("mine", await File.ReadAllTextAsync(Path.Combine(Folder, name), TestContext.CancellationToken));

        await SaveAsync(job, isForced: true);

        Assert.AreNotEqual("mine", await File.ReadAllTextAsync(Path.Combine(Folder, name), TestContext.CancellationToken));
    }

    [TestMethod]
    [DataRow("../evil")]
    [DataRow("/etc/passwd")]
    [DataRow("..")]
    [DataRow("")]
    [DataRow(".bashrc")]
    [DataRow("a\\b")]
    [DataRow("a\nb")]
    public async Task Save_NameThatIsNoFileName_IsRefused(string name)
    {
        var e = await Assert.ThrowsExactlyAsync<CliException>(() => SaveAsync(Job((name, _blobs.Add([1])))));

        StringAssert.Contains(e.Message, "expected a plain file name");
        Assert.IsEmpty(Names(_root));
    }

    [TestMethod]
    [DataRow(JobState.Running, "mldist watch")]
    [DataRow(JobState.Failed, "it left no model")]
    public async Task Save_OfAJobWithoutAResult_SaysWhatToDo(JobState state, string expected)
    {
        var e = await Assert.ThrowsExactlyAsync<CliException>(() => SaveAsync(new JobSnapshot { Id = "j1", State = state }));

        StringAssert.Contains(e.Message, expected);
    }

    private async Task<IEnumerable<string>> SaveAsync(JobSnapshot job, bool isForced = false, CancellationToken cancellation = default) =>
        (await new ResultFiles(job, new BlobDownload(_blobs, new ImpatientTime())).SaveAsync(Folder, isForced, cancellation)).Select(f => f.Name);

    private static JobSnapshot Job(params (string Name, Artifact Artifact)[] artifacts)
    {
        var job = new JobSnapshot { Id = "j1", State = JobState.Succeeded, Result = new JobResult { TrainingLoss = 0.5 } };
        foreach (var (name, artifact) in artifacts)
            job.Result.Artifacts.Add(name, artifact);
        return job;
    }

    private static string[] Names(string folder) => [.. Directory.EnumerateFileSystemEntries(folder).Select(p => Path.GetFileName(p)!).Order(StringComparer.Ordinal)];

    // Waits between attempts are over at once.
    private sealed class ImpatientTime : TimeProvider
    {
        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) => base.CreateTimer(callback, state, TimeSpan.Zero, period);
    }
}
