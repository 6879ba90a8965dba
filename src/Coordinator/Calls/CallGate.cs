using System.Globalization;
using System.Text;
using Grpc.Core;
using MLDistributed.Coordinator.Metrics;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Workers;
using MLDistributed.Protocol;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;

namespace MLDistributed.Coordinator.Calls;

/// <summary>
/// Stands before every call: checks the protocol version and the key by the headers, before a byte of a message is read, and
/// bounds the body of who may pass. Who may not is answered at once; what he sends is thrown away as it comes.
/// </summary>
internal sealed class CallGate(KeyRing keys, Revocations revocations, MessageBudget budget, CallFailures failures, CoordinatorOptions options, ILogger<CallGate> logger)
{
    private static readonly string Unknown = ((int)StatusCode.Unknown).ToString(CultureInfo.InvariantCulture);
    private readonly SecurityLog _log = new(logger);
    private readonly TokenBucket _lines = new(perSecond: 10, burst: 200); // who may not call may not fill the log's disk either
    private readonly long _start = options.Time.GetTimestamp();

    public async Task PassAsync(HttpContext context, RequestDelegate next)
    {
        var path = context.Request.Path.Value ?? "";
        try
        {
            var caller = AccessRules.IsOpen(path) ? CallerWithoutKey(context) : await AuthenticateAsync(context, path).ConfigureAwait(false);
            context.Features.Set(caller with { Revoked = revocations.Of(caller) });
            using var visit = Enter(context, caller);
            var body = Bound(context, path, caller);
            try
            {
                await next(context).ConfigureAwait(false);
            }
            finally
            {
                await (body?.EndAsync() ?? Task.CompletedTask).ConfigureAwait(false);
            }

            // gRPC's own word for a message that it could not read: what goes wrong in handlers, CallInterceptor words.
            if (!context.Response.HasStarted && context.Response.Headers["grpc-status"] == Unknown)
                Answer(context.Response, new Status(StatusCode.InvalidArgument, $"The message of {path} cannot be read, expected that of this release. Use the same release on both sides."));
        }
        catch (Exception e) when (!context.Response.HasStarted)
        {
            var status = failures.Describe(e, path, context.RequestAborted, CancellationToken.None);
            if (path == MetricsEndpoint.Path)
                await AnswerPlainAsync(context.Response, status).ConfigureAwait(false);
            else
                Answer(context.Response, status);
        }
    }

    private async Task<Caller> AuthenticateAsync(HttpContext context, string path)
    {
        if (path != MetricsEndpoint.Path) // whoever reads these is of no release
            CheckProtocol(context.Request.Headers[ProtocolVersion.Header]);
        var caller = await IdentifyAsync(context, path).ConfigureAwait(false);
        var required = AccessRules.Required(path);
        if (required == Scopes.None || (caller.Scopes & required) != 0)
            return caller;
        if (MayLog())
            _log.Refused(caller.Name, path, PeerOf(context));
        throw caller == Caller.Anonymous
            ? new RpcException(new Status(StatusCode.Unauthenticated, "The call carries no API key, expected metadata \"authorization: Bearer <key>\". Set the key, for example by MLDIST_API_KEY."))
            : new RpcException(new Status(StatusCode.PermissionDenied, $"Key \"{caller.Name}\" has scope {Words(caller.Scopes)}, expected {Words(required)} for {path}. Ask an administrator for another key."));
    }

    private async Task<Caller> IdentifyAsync(HttpContext context, string path)
    {
        const string scheme = "Bearer ";
        if (CallerWithoutKey(context) is { IsLocal: true } local)
            return local;
        if ((string?)context.Request.Headers.Authorization is not { Length: > 0 } header)
            return Caller.Anonymous;
        if (header.StartsWith(scheme, StringComparison.OrdinalIgnoreCase)
            && await keys.FindAsync(header[scheme.Length..].Trim(), context.RequestAborted).ConfigureAwait(false) is { } caller)
            return caller;
        if (MayLog())
            _log.UnknownKey(path, PeerOf(context));
        throw Secret.IsWorkers(header)
            ? new RpcException(new Status(StatusCode.Unauthenticated, "The worker's credential is unknown to this coordinator or was revoked."))
            : new RpcException(new Status(StatusCode.Unauthenticated, "The API key is unknown to this coordinator or was revoked. Check the key, or ask an administrator for a new one."));
    }

    private bool MayLog()
    {
        lock (_lines)
            return _lines.TryTake(1, options.Time.GetElapsedTime(_start));
    }

    private static Caller CallerWithoutKey(HttpContext context) => context.Features.Get<TrustedConnection>() is null ? Caller.Anonymous : Caller.Local;

    private static IDisposable? Enter(HttpContext context, Caller caller)
    {
        if (context.Features.Get<Visitor>() is not { } visitor)
            return null;
        if (caller == Caller.Anonymous)
            return visitor.Enter();
        visitor.Introduce();
        return null;
    }

    // Over the Unix socket only this machine's own user speaks, whose memory it is.
    private BoundedBody? Bound(HttpContext context, string path, Caller caller)
    {
        if (!RpcMethods.All.TryGetValue(path, out var method))
            return null; // gRPC answers without reading
        var isStream = method.IsClientStreaming;
        if (isStream && context.Features.Get<IHttpMinRequestBodyDataRateFeature>() is { } rate)
            rate.MinDataRate = null; // a worker may be silent between two heartbeats
        if (!isStream && context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } size)
            size.MaxRequestBodySize = RpcMethods.MaxMessageBytes(path) + (64L << 10);
        var body = new BoundedBody(
            context.Request.BodyReader, path, method, caller.IsLocal ? null : (bytes, cancellation) => budget.TakeAsync(caller.Owner, bytes, cancellation),
            e => new RpcException(e is IOException and not BadHttpRequestException
                ? new Status(StatusCode.Cancelled, "The caller left.") // felt before the call is told
                : failures.Describe(e, path, context.RequestAborted, CancellationToken.None)), options.Time);
        context.Features.Set<IRequestBodyPipeFeature>(body);
        return body;
    }

    /// <summary>An answer without a message, in gRPC's words (trailers only).</summary>
    private static void Answer(HttpResponse response, Status status)
    {
        response.StatusCode = StatusCodes.Status200OK;
        response.ContentType = "application/grpc";
        response.Headers["grpc-status"] = ((int)status.StatusCode).ToString(CultureInfo.InvariantCulture);
        response.Headers["grpc-message"] = Encoded(status.Detail);
    }

    private static Task AnswerPlainAsync(HttpResponse response, Status status)
    {
        response.StatusCode = status.StatusCode switch
        {
            StatusCode.Unauthenticated => StatusCodes.Status401Unauthorized,
            StatusCode.PermissionDenied => StatusCodes.Status403Forbidden,
            _ => StatusCodes.Status503ServiceUnavailable,
        };
        response.ContentType = "text/plain; charset=utf-8";
        return response.WriteAsync(status.Detail);
    }

    // Percent-encoded UTF-8, as the protocol wants it.
    private static string Encoded(string text)
    {
        var encoded = new StringBuilder(text.Length + 16);
        foreach (var part in Encoding.UTF8.GetBytes(text))
            if (part is >= 0x20 and <= 0x7E and not (byte)'%')
                encoded.Append((char)part);
            else
                encoded.Append(CultureInfo.InvariantCulture, $"%{part:X2}");
        return encoded.ToString();
    }

    private static void CheckProtocol(string? sent)
    {
        if (sent != ProtocolVersion.Current.ToString(CultureInfo.InvariantCulture))
            throw new RpcException(new Status(StatusCode.FailedPrecondition, sent is null
                ? $"Client sent no protocol version, expected metadata \"{ProtocolVersion.Header}: {ProtocolVersion.Current}\". Use the same release on both."
                : $"Client speaks protocol {VisibleText.Shortened(sent)}, this coordinator {ProtocolVersion.Current}. Use the same release on both."));
    }

    private static string PeerOf(HttpContext context) => $"{context.Connection.RemoteIpAddress}:{context.Connection.RemotePort}";

    private static string Words(Scopes scopes) => scopes.ToString().ToLowerInvariant().Replace(", ", " or ", StringComparison.Ordinal);
}

internal sealed partial class SecurityLog(ILogger logger)
{
    [LoggerMessage(201, LogLevel.Warning, "Refused \"{Caller}\" at {Peer}: no scope for {Method}")]
    public partial void Refused(string caller, string method, string peer);

    [LoggerMessage(202, LogLevel.Warning, "Refused an unknown key from {Peer} for {Method}")]
    public partial void UnknownKey(string method, string peer);
}
