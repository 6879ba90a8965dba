using System.Globalization;
using Grpc.Core;
using Grpc.Core.Interceptors;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Security;

/// <summary>Checks the protocol version and the key of every call, and words what goes wrong in any handler.</summary>
internal sealed class AuthenticationInterceptor(KeyRing keys, Revocations revocations, IHostApplicationLifetime lifetime, ILogger<AuthenticationInterceptor> logger) : Interceptor
{
    private readonly SecurityLog _log = new(logger);

    public override Task<TResponse> UnaryServerHandler<TRequest, TResponse>(
        TRequest request, ServerCallContext context, UnaryServerMethod<TRequest, TResponse> continuation) =>
        Guard(context, () => continuation(request, context));

    public override Task ServerStreamingServerHandler<TRequest, TResponse>(
        TRequest request, IServerStreamWriter<TResponse> responseStream, ServerCallContext context, ServerStreamingServerMethod<TRequest, TResponse> continuation) =>
        Guard(context, () => Done(continuation(request, responseStream, context)));

    public override Task<TResponse> ClientStreamingServerHandler<TRequest, TResponse>(
        IAsyncStreamReader<TRequest> requestStream, ServerCallContext context, ClientStreamingServerMethod<TRequest, TResponse> continuation) =>
        Guard(context, () => continuation(requestStream, context));

    public override Task DuplexStreamingServerHandler<TRequest, TResponse>(
        IAsyncStreamReader<TRequest> requestStream, IServerStreamWriter<TResponse> responseStream, ServerCallContext context, DuplexStreamingServerMethod<TRequest, TResponse> continuation) =>
        Guard(context, () => Done(continuation(requestStream, responseStream, context)));

    private static async Task<bool> Done(Task call)
    {
        await call.ConfigureAwait(false);
        return true;
    }

    private async Task<T> Guard<T>(ServerCallContext context, Func<Task<T>> handler)
    {
        try
        {
            if (!AccessRules.IsOpen(context.Method))
                await AuthenticateAsync(context).ConfigureAwait(false);
            return await handler().ConfigureAwait(false);
        }
        catch (Exception e) when (e is not RpcException && context.GetHttpContext().Features.Get<Caller>()?.Revoked.IsCancellationRequested == true)
        {
            throw new RpcException(new Status(StatusCode.Unauthenticated, "The call's key or credential was revoked."));
        }
        catch (Exception e) when (e is not RpcException && lifetime.ApplicationStopping.IsCancellationRequested)
        {
            throw new RpcException(new Status(StatusCode.Unavailable, "The coordinator is stopping. Connect again."));
        }
        catch (Exception e) when (e is not RpcException && context.CancellationToken.IsCancellationRequested)
        {
            throw new RpcException(new Status(StatusCode.Cancelled, "The caller left."));
        }
        catch (StoreException e)
        {
            _log.StoreFailed(context.Method, e.Message);
            throw new RpcException(new Status(StatusCode.ResourceExhausted, e.Message));
        }
        catch (Exception e) when (e is not RpcException)
        {
            _log.CallFailed(e, context.Method);
            throw new RpcException(new Status(StatusCode.Internal, $"The coordinator failed with {e.GetType().Name}: {e.Message}"));
        }
    }

    private async Task AuthenticateAsync(ServerCallContext context)
    {
        CheckProtocol(context.RequestHeaders);
        var caller = await IdentifyAsync(context).ConfigureAwait(false);
        var required = AccessRules.Required(context.Method);
        if (required != Scopes.None && (caller.Scopes & required) == 0)
        {
            _log.Refused(caller.Name, context.Method, context.Peer);
            throw caller == Caller.Anonymous
                ? new RpcException(new Status(StatusCode.Unauthenticated, "The call carries no API key, expected metadata \"authorization: Bearer <key>\". Set the key, for example by MLDIST_API_KEY."))
                : new RpcException(new Status(StatusCode.PermissionDenied, $"Key \"{caller.Name}\" has scope {Words(caller.Scopes)}, expected {Words(required)} for {context.Method}. Ask an administrator for another key."));
        }

        context.GetHttpContext().Features.Set(caller with { Revoked = revocations.Of(caller) });
    }

    private async Task<Caller> IdentifyAsync(ServerCallContext context)
    {
        const string scheme = "Bearer ";
        if (context.GetHttpContext().Features.Get<TrustedConnection>() is not null)
            return Caller.Local;
        if (context.RequestHeaders.GetValue("authorization") is not { } header)
            return Caller.Anonymous;
        if (header.StartsWith(scheme, StringComparison.OrdinalIgnoreCase)
            && await keys.FindAsync(header[scheme.Length..].Trim(), context.CancellationToken).ConfigureAwait(false) is { } caller)
            return caller;
        _log.UnknownKey(context.Method, context.Peer);
        throw Secret.IsWorkers(header)
            ? new RpcException(new Status(StatusCode.Unauthenticated, "The worker's credential is unknown to this coordinator or was revoked."))
            : new RpcException(new Status(StatusCode.Unauthenticated, "The API key is unknown to this coordinator or was revoked. Check the key, or ask an administrator for a new one."));
    }

    private static void CheckProtocol(Metadata headers)
    {
        var sent = headers.GetValue(ProtocolVersion.Header);
        if (sent != ProtocolVersion.Current.ToString(CultureInfo.InvariantCulture))
            throw new RpcException(new Status(StatusCode.FailedPrecondition, sent is null
                ? $"Client sent no protocol version, expected metadata \"{ProtocolVersion.Header}: {ProtocolVersion.Current}\". Use the same release on both."
                : $"Client speaks protocol {sent}, this coordinator {ProtocolVersion.Current}. Use the same release on both."));
    }

    private static string Words(Scopes scopes) => scopes.ToString().ToLowerInvariant().Replace(", ", " or ", StringComparison.Ordinal);
}

internal sealed partial class SecurityLog(ILogger logger)
{
    [LoggerMessage(201, LogLevel.Warning, "Refused \"{Caller}\" at {Peer}: no scope for {Method}")]
    public partial void Refused(string caller, string method, string peer);

    [LoggerMessage(203, LogLevel.Error, "{Method}: {Reason}")]
    public partial void StoreFailed(string method, string reason);

    [LoggerMessage(204, LogLevel.Error, "{Method} failed")]
    public partial void CallFailed(Exception error, string method);

    [LoggerMessage(202, LogLevel.Warning, "Refused an unknown key from {Peer} for {Method}")]
    public partial void UnknownKey(string method, string peer);
}
