using MLDistributed.Cli.Output;

namespace Cli.Tests.Output;

[TestClass]
public sealed class WordsTests
{
    [TestMethod]
    [DataRow(0L, "0 B")]
    [DataRow(1023L, "1023 B")]
    [DataRow(1536L, "1.5 KiB")]
    [DataRow(1048575L, "1.0 MiB")]
    [DataRow(long.MaxValue, "8388608.0 TiB")]
    public void Bytes_AnyCount_HasAUnit(long count, string expected) => Assert.AreEqual(expected, Words.Bytes(count));

    [TestMethod]
    [DataRow(-3.0, "0.0 s", DisplayName = "clocks that disagree")]
    [DataRow(1.25, "1.3 s")]
    [DataRow(42.0, "42 s")]
    [DataRow(600.0, "10 min")]
    [DataRow(7200.0, "2 h")]
    [DataRow(4 * 86400.0, "4 days")]
    public void Duration_AnyTime_HasAUnit(double seconds, string expected) => Assert.AreEqual(expected, Words.Duration(TimeSpan.FromSeconds(seconds)));
}
