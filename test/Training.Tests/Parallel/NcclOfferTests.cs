using MLDistributed.Collectives;
using MLDistributed.Collectives.Nccl;
using MLDistributed.Training.Parallel;

namespace Training.Tests.Parallel;

/// <summary>What hosts have of NCCL, compared before any of their GPUs waits for another's.</summary>
[TestClass]
public sealed class NcclOfferTests
{
    [TestMethod]
    public void RequireOne_TheSameOnAllHosts_IsTaken() => NcclOffer.RequireOne(Topology.OfCpus(2, 1, 1), ["2.27.5", "2.27.5", "2.27.5"]);

    [TestMethod]
    [DataRow("2.27.5", "2.27.5", "3.0.1", "Host \"0\" has NCCL 2.27.5, host \"2\" has NCCL 3.0.1, expected the same NCCL on all hosts of a job on GPUs.", DisplayName = "another major version")]
    [DataRow("2.27.5", "2.26.2", "2.27.5", "Host \"0\" has NCCL 2.27.5, host \"1\" has NCCL 2.26.2, expected", DisplayName = "another version")]
    [DataRow("2.27.5", "2.27.5", "none libnccl.so.2 was not found", "Host \"0\" has NCCL 2.27.5, host \"2\" has no NCCL (libnccl.so.2 was not found), expected", DisplayName = "the last has none")]
    [DataRow("none it is old", "2.27.5", "2.27.5", "Host \"1\" has NCCL 2.27.5, host \"0\" has no NCCL (it is old), expected", DisplayName = "the first has none")]
    [DataRow("none it is old", "none it is old", "none it is gone", "Host \"0\" has no NCCL (it is old), host \"1\" has no NCCL (it is old), expected", DisplayName = "all have none")]
    public void RequireOne_HostsThatDiffer_IsRefusedWithTwo(string first, string second, string third, string expected) =>
        StringAssert.StartsWith(Assert.ThrowsExactly<FormatException>(() => NcclOffer.RequireOne(Topology.OfCpus(2, 1, 1), [first, second, third])).Message, expected);

    [TestMethod]
    public void IdOf_WhatTheFirstTold_IsReadOrRefused()
    {
        byte[] id = [.. Enumerable.Range(0, NcclLibrary.IdBytes).Select(i => (byte)i)];
        CollectionAssert.AreEqual(id, NcclOffer.IdOf(Topology.OfCpus(1, 1), [Convert.ToBase64String(id), ""]));
        foreach (var told in (string[])["", "AAAA", "!", Convert.ToBase64String([.. id, 1])])
            StringAssert.StartsWith(Assert.ThrowsExactly<FormatException>(() => NcclOffer.IdOf(Topology.OfCpus(1, 1), [told, ""])).Message, "Host \"0\" told no id of NCCL's, expected 128 bytes.");
    }
}
