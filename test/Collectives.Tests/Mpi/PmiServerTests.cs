using MLDistributed.Collectives;
using MLDistributed.Collectives.Mpi;

namespace Collectives.Tests.Mpi;

/// <summary>What MPICH asks of its process manager, line by line.</summary>
[TestClass]
public sealed class PmiServerTests
{
    [TestMethod]
    [DataRow("cmd=init pmi_version=1 pmi_subversion=1", "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0")]
    [DataRow("cmd=get_maxes", "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024 rc=0")]
    [DataRow("cmd=get_appnum", "cmd=appnum appnum=0 rc=0")]
    [DataRow("cmd=get_universe_size", "cmd=universe_size size=3 rc=0")]
    [DataRow("cmd=get_my_kvsname", "cmd=my_kvsname kvsname=kvs_attempt-7 rc=0")]
    [DataRow("cmd=get kvsname=kvs_attempt-7 key=PMI_process_mapping", "cmd=get_result rc=0 value=(vector,(0,3,1))")]
    [DataRow("cmd=get kvsname=kvs_attempt-7 key=other", "cmd=get_result rc=-1 msg=key_not_found value=unknown")]
    [DataRow("cmd=finalize", "cmd=finalize_ack rc=0")]
    [DataRow("cmd=spawn", "cmd=unknown rc=-1")]
    [DataRow("", "cmd=unknown rc=-1")]
    public void Answer_ToEachLine_IsWhatMpichExpects(string line, string expected) => Assert.AreEqual(expected, Server(new Fixed([])).Answer(line));

    [TestMethod]
    public void Answer_AfterAFence_HasTheValuesOfAllRanks()
    {
        var rendezvous = new Fixed(["-bcast-1-0 a==b\nx y", "", "z 1"]);
        var server = Server(rendezvous);
        Assert.AreEqual("cmd=put_result rc=0 msg=success", server.Answer("cmd=put kvsname=k key=mine value=v=1"));
        Assert.AreEqual("cmd=put_result rc=0 msg=success", server.Answer("cmd=put kvsname=k key=more value=2"));
        StringAssert.Contains(server.Answer("cmd=get kvsname=k key=z"), "rc=-1");
        Assert.AreEqual("cmd=barrier_out rc=0", server.Answer("cmd=barrier_in"));
        Assert.AreEqual("mine v=1\nmore 2", rendezvous.Brought);
        Assert.AreEqual("cmd=get_result rc=0 value=a==b", server.Answer("cmd=get kvsname=k key=-bcast-1-0"));
        Assert.AreEqual("cmd=get_result rc=0 value=1", server.Answer("cmd=get kvsname=k key=z"));
        server.Answer("cmd=barrier_in");
        Assert.AreEqual("", rendezvous.Brought);
    }

    [TestMethod]
    [DataRow(-1, 2, "Rank is -1, expected 0 to 1.")]
    [DataRow(2, 2, "Rank is 2, expected 0 to 1.")]
    [DataRow(0, 0, "World size is 0, expected at least 1.")]
    public void Join_WithAnImpossiblePlace_IsRefused(int rank, int world, string message)
    {
        var e = Assert.ThrowsExactly<CollectiveException>(() => MpiWorld.Join(new MpiOptions { Rank = rank, WorldSize = world }, new Fixed([])));
        Assert.AreEqual(message, e.Message);
    }

    [TestMethod]
    public void Join_WithARunThatIsNoName_IsRefused()
    {
        var e = Assert.ThrowsExactly<CollectiveException>(() => MpiWorld.Join(new MpiOptions { Rank = 0, WorldSize = 1, RunId = "a b" }, new Fixed([])));
        StringAssert.Contains(e.Message, "\"a b\"");
    }

    private static PmiServer Server(IRendezvous rendezvous) => new(rendezvous, new MpiOptions { Rank = 1, WorldSize = 3, RunId = "attempt-7" }, CancellationToken.None);

    private sealed class Fixed(string[] all) : IRendezvous
    {
        public string? Brought { get; private set; }

        public Task<int> Aborted { get; } = new TaskCompletionSource<int>().Task;

        public IReadOnlyList<string> AllGather(string mine, CancellationToken stop)
        {
            Brought = mine;
            return all;
        }

        public void Abort(int rank) { }
    }
}
