using MLDistributed.Protocol;

namespace Protocol.Tests;

[TestClass]
[OSCondition(ConditionMode.Exclude, OperatingSystems.Windows)]
public sealed class UnixSocketAddressTests
{
    [TestMethod]
    [DataRow("/run/mldist/c.sock")]
    [DataRow("/t/h#1/c")]
    [DataRow("/t/a?b=c/c")]
    [DataRow("/t/%41/c")]
    [DataRow("/t/100%/c")]
    [DataRow("/t/a\\b/c")]
    [DataRow("/t/漢字/c")]
    [DataRow("/t/a b\"'\n/c ")]
    [DataRow("/t/a:b@c/../c")]
    public void Address_OfAPath_MeansIt(string path)
    {
        Assert.AreEqual(path, UnixSocketAddress.PathOf(UnixSocketAddress.Of(path)));
        Assert.AreEqual(path, UnixSocketAddress.PathOf(new Uri(UnixSocketAddress.Of(path).OriginalString)), "as an argument of a child");
    }

    [TestMethod]
    [DataRow("unix:///t/h#1/c", "/t/h#1/c")]
    [DataRow("unix:///t/a?b/c", "/t/a?b/c")]
    [DataRow("unix:///t/a\\b/c", "/t/a\\b/c")]
    [DataRow("unix:///t/a b/c", "/t/a b/c")]
    [DataRow("unix:///t/%41/c", "/t/A/c")]
    [DataRow("unix:/t/c", "/t/c")]
    [DataRow("unix://t/c", "t/c")]
    public void PathOf_WhatSomebodyWrote_IsWhatTheyMeant(string address, string path) =>
        Assert.AreEqual(path, UnixSocketAddress.PathOf(new Uri(address)));

    [TestMethod]
    public void PathOf_ANameWithAnEscapeThatIsThere_IsThatName()
    {
        var folder = Directory.CreateTempSubdirectory("m%41-");
        try
        {
            var path = Path.Combine(folder.FullName, "c");
            File.WriteAllText(path, "");
            Assert.AreEqual(path, UnixSocketAddress.PathOf(new Uri("unix://" + path)));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [TestMethod]
    public void Refusal_ByBytes_NotCharacters()
    {
        var most = "/" + new string('a', UnixSocketAddress.MaxPathBytes - 1);
        Assert.IsNull(UnixSocketAddress.Refusal(most));
        StringAssert.Contains(UnixSocketAddress.Refusal(most + "a"), $"has {UnixSocketAddress.MaxPathBytes + 1} bytes");
        StringAssert.Contains(UnixSocketAddress.Refusal("/" + new string('漢', 40)), "has 121 bytes");
        StringAssert.Contains(UnixSocketAddress.Refusal("c.sock"), "is relative");
    }
}
