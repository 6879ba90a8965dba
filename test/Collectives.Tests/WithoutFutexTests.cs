using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;

namespace Collectives.Tests;

/// <summary>The contract on systems without futexes, where a wait yields the core.</summary>
[TestClass]
public sealed unsafe class WithoutFutexTests : CollectiveContract
{
    [TestMethod]
    public void WaitWhile_NotNative_Returns()
    {
        var word = 1;
        Futex.WaitWhile(&word, 1, TimeSpan.FromDays(1), native: false);
        Futex.WakeAll(&word);
    }

    protected override Exception?[] Run(int worldSize, Action<ICollective> body) => Ranks.RunCollective(worldSize, body, o => o with { UseFutex = false });
}
