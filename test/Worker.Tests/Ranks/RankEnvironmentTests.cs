using System.Diagnostics;
using System.Globalization;
using MLDistributed.Training;
using MLDistributed.Worker.Ranks;

namespace Worker.Tests.Ranks;

[TestClass]
public sealed class RankEnvironmentTests
{
    [TestMethod]
    [DataRow(8, 2, "4", false)]
    [DataRow(2, 2, "1", false)]
    [DataRow(2, 4, "1", true)]
    public void Variables_CoresAndSlots_SharesTheCores(int cores, int slots, string threads, bool shares)
    {
        var environment = new RankEnvironment(cores, slots).Variables;
        Assert.AreEqual(threads, environment["OMP_NUM_THREADS"]);
        Assert.AreEqual(threads, environment["MKL_NUM_THREADS"]);
        Assert.AreEqual(shares, environment.ContainsKey("OMP_WAIT_POLICY"));
        Assert.AreEqual(shares, environment.ContainsKey(RankTraining.SharesCoresVariable));
    }

    [TestMethod]
    public void Variables_Always_HaveTheCLibraryKeepWhatAStepFrees()
    {
        var environment = new RankEnvironment(2, 2).Variables;
        Assert.AreEqual("0", environment["MALLOC_MMAP_MAX_"]);
        Assert.IsTrue(long.Parse(environment["MALLOC_TRIM_THRESHOLD_"], CultureInfo.InvariantCulture) > 1L << 36);
    }

    [TestMethod]
    [DataRow(null, "lo")]
    [DataRow("", "lo")]
    [DataRow("eth1", "=eth1")]
    public void Variables_Network_BindsNcclToItAlone(string? network, string expected)
    {
        var environment = new RankEnvironment(2, 2, network).Variables;
        Assert.AreEqual(expected, environment["NCCL_SOCKET_IFNAME"]);
        Assert.AreEqual("Socket", environment["NCCL_NET"]);
    }

    [TestMethod]
    public void Start_MoreSlotsThanCores_PutsCodeAtTheSameAddresses()
    {
        using (var asked = Process.Start(new ProcessStartInfo("setarch", "-R cat /proc/self/personality") { RedirectStandardOutput = true, RedirectStandardError = true })!)
        {
            if (asked.StandardOutput.ReadToEnd() is "")
                Assert.Inconclusive("The system, perhaps a container's filter, does not let processes ask for addresses that are not random.");
        }

        using var process = new RankEnvironment(2, 4).Start(Cat());
        Assert.AreNotEqual(0, Personality(process));
        using var again = Process.Start(Cat())!;
        Assert.AreEqual(0, Personality(again), "the worker's own later processes");
    }

    [TestMethod]
    public void Start_ACoreForEachSlot_LeavesAddressesRandom()
    {
        using var process = new RankEnvironment(2, 2).Start(Cat());
        Assert.AreEqual(0, Personality(process));
    }

    private static ProcessStartInfo Cat() => new("cat", "/proc/self/personality") { RedirectStandardOutput = true };

    private static int Personality(Process process) => int.Parse(process.StandardOutput.ReadToEnd(), NumberStyles.HexNumber, CultureInfo.InvariantCulture) & 0x40000;
}
