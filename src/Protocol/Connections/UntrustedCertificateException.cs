using System.Security.Authentication;

namespace MLDistributed.Protocol;

/// <summary>A server's certificate was not accepted. Other failures of a TLS handshake are not of this kind.</summary>
public sealed class UntrustedCertificateException(string message) : AuthenticationException(message);
