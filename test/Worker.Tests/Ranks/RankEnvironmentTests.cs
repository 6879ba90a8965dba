using MLDistributed.Worker.Ranks;

namespace Worker.Tests.Ranks;

[TestClass]
public sealed class RankEnvironmentTests
{
    [TestMethod]
    [DataRow(8, 2, "4", false)]
    [DataRow(2, 2, "1", false)]
    [DataRow(2, 4, "1", true)]
    public void Create_CoresAndSlots_SharesTheCores(int cores, int slots, string threads, bool passive)
    {
        var environment = RankEnvironment.Create(cores, slots);
        Assert.AreEqual(threads, environment["OMP_NUM_THREADS"]);
        Assert.AreEqual(threads, environment["MKL_NUM_THREADS"]);
        Assert.AreEqual(passive, environment.ContainsKey("OMP_WAIT_POLICY"));
    }

    [TestMethod]
    public void Create_Always_HasTheCLibraryKeepWhatAStepFrees()
    {
        var environment = RankEnvironment.Create(2, 2);
        Assert.AreEqual("0", environment["MALLOC_MMAP_MAX_"]);
        Assert.IsTrue(long.Parse(environment["MALLOC_TRIM_THRESHOLD_"], System.Globalization.CultureInfo.InvariantCulture) > 1L << 36);
    }
}
