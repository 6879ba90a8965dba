using MLDistributed.Coordinator.Security;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Hosting;

/// <summary>A coordinator with addresses and without keys could be used by nobody: the first start makes a key and a join token.</summary>
internal static class FirstStart
{
    private static readonly TimeSpan TokenValidFor = TimeSpan.FromDays(1);

    /// <summary>Prints them once, in the lines that clients and workers need; afterwards only their hashes are known.</summary>
    /// <param name="keys">The keys, of which there are none yet at a first start.</param>
    /// <param name="address">Where others reach this coordinator.</param>
    /// <param name="fingerprint">Of a certificate that nobody trusts unless told to; null when there is none.</param>
    /// <param name="output">Standard output.</param>
    public static void PrintKeys(KeyRing keys, Uri address, string? fingerprint, TextWriter output)
    {
        if (!keys.IsEmpty())
            return;
        var (_, key) = keys.CreateKey("first administrator", "default", Scopes.Read | Scopes.Submit | Scopes.Admin, int.MaxValue);
        var token = keys.CreateJoinToken(TokenValidFor);
        var at = address.GetLeftPart(UriPartial.Authority);
        output.WriteLine($"""
            This coordinator is new. Note its key and token now, they are not shown again.

            Where jobs are submitted and watched (the key has all scopes; "mldist keys create" makes others):
              export {ClusterVariables.Coordinator}={at}
              export {ClusterVariables.ApiKey}={key}{(fingerprint is null ? "" : $"{Environment.NewLine}  export {ClusterVariables.Fingerprint}={fingerprint}")}

            On a machine that trains (one, within a day; "mldist tokens create" makes more tokens):
              export {ClusterVariables.JoinToken}={token}
              mldist worker --coordinator {at}{(fingerprint is null ? "" : $" --fingerprint {fingerprint}")}

            """);
    }

    /// <summary>The address that others can use: the host that was configured, or this machine's name where it listens everywhere.</summary>
    public static Uri Reachable(Uri configured, int port)
    {
        var isEverywhere = configured.Host is "0.0.0.0" or "[::]";
        return new UriBuilder(configured.Scheme, isEverywhere ? Environment.MachineName : configured.Host, port).Uri;
    }
}
