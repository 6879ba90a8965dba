using System.Collections.Concurrent;
using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;
using MLDistributed.Worker.Attempts;

namespace Worker.Tests.Attempts;

[TestClass]
public sealed class CommitStoreTests
{
    private static readonly TimeSpan s_bound = TimeSpan.FromSeconds(30);

    [TestMethod]
    [OSCondition(OperatingSystems.Linux)] // others have no files without names
    public void Keep_AfterAnotherAttemptHadIt_BeginsItsTimeAnew()
    {
        var time = new ManualTimeProvider();
        using var posted = new BlockingCollection<Action>();
        using var store = new CommitStore(Path.GetTempPath(), time, posted.Add);
        var job = OpaqueId.New();
        var file = store.Take(job)!;
        store.Keep(job, file);
        time.Advance(CommitStore.KeptFor / 2);
        Assert.AreSame(file, store.Take(job));
        store.Keep(job, file);

        time.Advance(CommitStore.KeptFor / 2);
        RunPosted(); // of the first time

        Assert.AreSame(file, store.Take(job));
        store.Keep(job, file);
        time.Advance(CommitStore.KeptFor);
        RunPosted();
        RunPosted();
        using var next = store.Take(job);
        Assert.AreNotSame(file, next);

        void RunPosted()
        {
            Assert.IsTrue(posted.TryTake(out var action, s_bound));
            action();
        }
    }
}
