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
            if (inner is UntrustedCertificateException)
                return true;
        return false;
    }

    /// <summary>Whether the two sides could not agree on TLS; not for the sake of a certificate.</summary>
    public static bool IsTlsMismatch(Exception? e)
    {
        for (; e is not null; e = e is RpcException { Status.DebugException: { } cause } ? cause : e.InnerException)
            if (e is AuthenticationException and not UntrustedCertificateException)
                return true;
        return false;
    }

    /// <summary>What to try where the one side speaks TLS and the other does not, as a sentence with a blank before it; else empty.</summary>
    public static string SchemeHint(RpcException e, Uri address)
    {
        ArgumentNullException.ThrowIfNull(address);
        if (address.Scheme == Uri.UriSchemeHttps && IsTlsMismatch(e))
            return " It does not speak TLS: if it listens on http://, on this machine, write http:// here.";
        // It is there, and its answer is none of HTTP's; where in the handshake that shows is a matter of luck.
        return address.Scheme == Uri.UriSchemeHttp && e.Status.DebugException is HttpRequestException { HttpRequestError: not (HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError) }
            ? " If it listens on https://, write https:// here, and give the fingerprint that it prints when it starts."
            : "";
    }

    /// <summary>The failure with what the server said made visible, for those that show all of an exception.</summary>
    public static RpcException Visible(RpcException e)
    {
        ArgumentNullException.ThrowIfNull(e);
        return VisibleText.Of(e.Status.Detail) is var detail && detail == e.Status.Detail ? e : new RpcException(new Status(e.StatusCode, detail, e.Status.DebugException), e.Trailers);
    }

    /// <summary>What the server said, or else what broke the connection, as a sentence; text of the server is made visible.</summary>
    public static string Describe(RpcException e)
    {
        ArgumentNullException.ThrowIfNull(e);
        if (e.StatusCode == StatusCode.DeadlineExceeded)
            return e.Status.Detail.StartsWith("It gave no answer", StringComparison.Ordinal) ? VisibleText.Of(e.Status.Detail) : "It gave no answer.";
        var text = e.Status.Detail;
        if (e.StatusCode is StatusCode.Unavailable or StatusCode.Internal or StatusCode.Unknown && e.Status.DebugException is { } cause)
            text = cause.GetBaseException().Message;
        text = VisibleText.Of(text.Trim());
        return text.Length == 0 ? $"{e.StatusCode}." : text[^1] is '.' or '!' or '?' ? text : text + ".";
    }
}
