using Google.Protobuf;
using Grpc.Core;
using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator.Calls;

/// <summary>What a caller is told of an exception.</summary>
internal sealed class CallFailures(IHostApplicationLifetime lifetime, ILogger<CallFailures> logger)
{
    private const int MaxDetail = 8000; // a status travels in a header, and clients take 64 KiB of them
    private readonly CallLog _log = new(logger);

    /// <param name="e">What a call threw.</param>
    /// <param name="method">The call.</param>
    /// <param name="left">Cancelled when its caller left.</param>
    /// <param name="revoked">Cancelled when its key was revoked.</param>
    public Status Describe(Exception e, string method, CancellationToken left, CancellationToken revoked)
    {
        var status = StatusOf(e, method, left, revoked);
        return status.Detail.Length <= MaxDetail ? status : new Status(status.StatusCode, status.Detail[..MaxDetail] + "...");
    }

    private Status StatusOf(Exception e, string method, CancellationToken left, CancellationToken revoked)
    {
        switch (e)
        {
            case RpcException refusal:
                return refusal.Status;
            case not null when revoked.IsCancellationRequested:
                return new Status(StatusCode.Unauthenticated, "The call's key or credential was revoked.");
            case not null when lifetime.ApplicationStopping.IsCancellationRequested:
                return new Status(StatusCode.Unavailable, "The coordinator is stopping. Connect again.");
            case not null when left.IsCancellationRequested:
                return new Status(StatusCode.Cancelled, "The caller left.");
            case StoreException:
                _log.StoreFailed(method, e.Message);
                return new Status(StatusCode.ResourceExhausted, e.Message);
            case DamagedRowException:
                _log.StoreFailed(method, e.Message);
                return new Status(StatusCode.DataLoss, e.Message);
            case InvalidProtocolBufferException:
                return new Status(StatusCode.InvalidArgument, $"A message of {method} cannot be read ({e.Message.TrimEnd('.')}). Use the same release on both sides.");
            case BadHttpRequestException:
                return new Status(StatusCode.InvalidArgument, $"The call of {method} is no call ({e.Message.TrimEnd('.')}). Call again.");
            default:
                _log.CallFailed(e!, method);
                return new Status(StatusCode.Internal, $"The coordinator failed with {e!.GetType().Name}: {e.Message}");
        }
    }
}

internal sealed partial class CallLog(ILogger logger)
{
    [LoggerMessage(203, LogLevel.Error, "{Method}: {Reason}")]
    public partial void StoreFailed(string method, string reason);

    [LoggerMessage(204, LogLevel.Error, "{Method} failed")]
    public partial void CallFailed(Exception error, string method);
}
