using MLDistributed.Coordinator.Security;

namespace MLDistributed.Coordinator.Hosting;

/// <summary>A coordinator with addresses and without keys could be used by nobody: the first start makes a key and a join token.</summary>
internal static class FirstStart
{
    private static readonly TimeSpan TokenValidFor = TimeSpan.FromDays(1);

    /// <summary>Prints them once; afterwards only their hashes are known.</summary>
    public static void PrintKeys(KeyRing keys, TextWriter output)
    {
        if (!keys.IsEmpty())
            return;
        var (_, key) = keys.CreateKey("first administrator", "default", Scopes.Read | Scopes.Submit | Scopes.Admin);
        var token = keys.CreateJoinToken(TokenValidFor);
        output.WriteLine($"""
            This coordinator is new. Note these two now, they are not shown again:
              API key (all scopes):            {key}
              Join token (one worker, 1 day):  {token}
            """);
    }
}
