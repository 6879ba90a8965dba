using System.Net.NetworkInformation;
using MLDistributed.Tests.Shared;

namespace Collectives.Tests;

/// <summary>The network that other tests run over is the one that they ask for.</summary>
[TestClass, DoNotParallelize]
public sealed class NetworkHostsTests
{
    [TestMethod]
    public void SetDelay_OfTwoHosts_HoldsEachWayUntilItEndsAndLeavesNothing()
    {
        const int delay = 50;
        if (NetworkHosts.Unavailable() is { } reason)
            Assert.Inconclusive(reason);
        using (var hosts = NetworkHosts.Create(3))
        {
            foreach (var host in (int[])[0, 1])
                if (hosts.SetDelay(host, delay) is { } refusal)
                    Assert.Inconclusive(refusal);
            Assert.IsGreaterThanOrEqualTo(2.0 * delay, hosts.RoundTrip(0, 1));
            var one = hosts.RoundTrip(0, 2);
            Assert.IsTrue(one is >= delay and < 2 * delay, $"{one} ms, where one way is held for {delay}.");

            hosts.SetRate(0, null);

            Assert.IsLessThan(delay, hosts.RoundTrip(0, 2));
            Assert.IsGreaterThanOrEqualTo(delay, hosts.RoundTrip(0, 1));
        }

        Assert.IsFalse(NetworkInterface.GetAllNetworkInterfaces().Any(i => i.Name.StartsWith(SlowCable.DevicePrefix, StringComparison.Ordinal)));
    }
}
