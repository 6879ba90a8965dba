using System.Security.Authentication;
using Grpc.Core;

namespace MLDistributed.Protocol;

/// <summary>What a failed call suffered on its way, in the system's own words and not the layers' above.</summary>
public static class ConnectionFailure
{
    /// <summary>Whether the server's certificate was not accepted.</summary>
    public static bool IsUntrustedCertificate(RpcException e)
    {
        for (var inner = e.Status.DebugException; inner is not null; inner = inner.InnerException)
            if (inner is AuthenticationException)
                return true;
        return false;
    }

    /// <summary>What the server said, or else what broke the connection, as a sentence.</summary>
    public static string Describe(RpcException e)
    {
        if (e.StatusCode == StatusCode.DeadlineExceeded)
            return "It gave no answer.";
        var text = e.Status.Detail;
        if (e.StatusCode is StatusCode.Unavailable or StatusCode.Internal or StatusCode.Unknown && e.Status.DebugException is { } cause)
            text = cause.GetBaseException().Message;
        text = text.Trim();
        return text.Length == 0 ? $"{e.StatusCode}." : text[^1] is '.' or '!' or '?' ? text : text + ".";
    }
}
