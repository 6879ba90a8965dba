using System.Buffers;
using System.Buffers.Binary;
using System.IO.Pipelines;
using Google.Protobuf.Reflection;
using Grpc.Core;
using Microsoft.AspNetCore.Http.Features;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Calls;

/// <summary>
/// A call's body as gRPC reads it, which waits for whole messages in memory: looks at the length that each message begins
/// with, how long it takes, and at its fields, before gRPC makes anything of it. What is wrong ends the call in a sentence.
/// The room that a message took it keeps while it is worked on: until the next one is asked for, or the call ends.
/// </summary>
/// <remarks>
/// Kestrel gives a stream's pipe to the connection's next call, and a handler may end while it waits for a message: a read that
/// is left would read in that call. So <see cref="EndAsync"/> ends it, and whoever reads later is told that the call is over.
/// </remarks>
internal sealed class BoundedBody(
    PipeReader inner, string path, MethodDescriptor method, Func<long, CancellationToken, ValueTask<IDisposable>>? reserve, Func<Exception, RpcException> word, TimeProvider time)
    : PipeReader, IRequestBodyPipeFeature
{
    private const int PrefixBytes = 5; // whether it is compressed, and its length
    private const double LeastBytesPerSecond = 64 << 10;
    private static readonly TimeSpan s_least = TimeSpan.FromSeconds(10); // for a message of any length
    private readonly int _maxBytes = RpcMethods.MaxMessageBytes(path);
    private long _since = time.GetTimestamp();
    private ReadOnlySequence<byte> _buffer;
    private long _unfinished;
    private IDisposable? _lease;
    private readonly Lock _gate = new(); // before the pipe, and before who may still use it
    private Task<ReadResult>? _reading;
    private bool _isOver;
    private bool _hadMessage;
    private volatile bool _isLate;

    public PipeReader Reader => this;

    public override async ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
    {
        try
        {
            return await ReadBoundedAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!method.IsClientStreaming)
        {
            // No handler waits for it, and a caller who is still there may call again.
            throw Refuse(StatusCode.Unavailable, $"The call of {path} was ended while its message was read. Call again.");
        }
        catch (Exception e) when (e is not (RpcException or OperationCanceledException))
        {
            throw word(e); // gRPC would call it Unknown, and keep what it was to itself
        }
    }

    public override bool TryRead(out ReadResult result) => throw new NotSupportedException("gRPC reads asynchronously.");

    private async ValueTask<ReadResult> ReadBoundedAsync(CancellationToken cancellationToken)
    {
        ReadResult result;
        if (_hadMessage && method.IsClientStreaming && _unfinished == 0)
            Release(); // what was read before is done with
        try
        {
            result = await WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (BadHttpRequestException e)
        {
            Release();
            throw Refuse(StatusCode.ResourceExhausted, $"The body of {path} is no message ({e.Message.TrimEnd('.')}), expected at most {_maxBytes:N0} bytes. Send less.");
        }

        _buffer = result.Buffer;
        var refusal = _isLate ? Late() : result.IsCanceled ? null : Refusal(result.IsCompleted);
        if (refusal is not null)
            throw End(refusal);
        if (_unfinished > 0 && _lease is null && reserve is not null)
            try
            {
                _lease = await reserve(_unfinished, cancellationToken).ConfigureAwait(false);
                _since = time.GetTimestamp(); // who waited for room is not late
                if (IsOver)
                    throw Over(); // what was read is the next call's room by now
            }
            catch (Exception e)
            {
                throw End(e);
            }

        return result;
    }

    public override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

    public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
    {
        if (!consumed.Equals(_buffer.Start))
        {
            _hadMessage = true;
            _since = time.GetTimestamp();
            if (method is { IsServerStreaming: true, IsClientStreaming: false })
                Release(); // such calls last, and their requests are small
        }

        _buffer = default;
        Advance(consumed, examined);
    }

    // Whose caller has left, or whose call was aborted, has no reading left to cancel; a timer's exception would end the process.
    public override void CancelPendingRead()
    {
        try
        {
            inner.CancelPendingRead();
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // That has ended it, too.
        }
    }

    public override void Complete(Exception? exception = null)
    {
        Release();
        inner.Complete(exception);
    }

    /// <summary>The call is over: a read that waits has ended, and none begins.</summary>
    public async Task EndAsync()
    {
        Task<ReadResult>? reading;
        lock (_gate)
        {
            _isOver = true;
            reading = _reading;
        }

        Release();
        if (reading is null)
            return;
        CancelPendingRead();
        await ((Task)reading).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private bool IsOver
    {
        get
        {
            lock (_gate)
                return _isOver;
        }
    }

    private RpcException Over() => Refuse(StatusCode.Cancelled, $"The call of {path} is over.");

    private void Release() => Interlocked.Exchange(ref _lease, null)?.Dispose();

    private Task<ReadResult> Read(CancellationToken cancellation)
    {
        lock (_gate)
            return _reading = _isOver ? throw Over() : inner.ReadAsync(cancellation).AsTask();
    }

    private void Advance(SequencePosition consumed, SequencePosition examined)
    {
        lock (_gate)
        {
            _reading = null;
            if (!_isOver)
                inner.AdvanceTo(consumed, examined);
        }
    }

    private Exception End(Exception reason)
    {
        Advance(_buffer.Start, _buffer.End);
        Release();
        return reason;
    }

    private async ValueTask<ReadResult> WaitAsync(CancellationToken cancellation)
    {
        var reading = Read(cancellation);
        if (reading.IsCompleted || Left() is not { } left)
            return await reading.ConfigureAwait(false);
        var timer = time.CreateTimer(_ =>
        {
            _isLate = true;
            CancelPendingRead();
        }, null, left > TimeSpan.Zero ? left : TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        await using (timer.ConfigureAwait(false))
            return await reading.ConfigureAwait(false);
    }

    // Between two messages of a stream, its own pause; else what a message of this length may take.
    private TimeSpan? Left()
    {
        var most = method.IsClientStreaming && _hadMessage && _unfinished == 0 ? RpcMethods.MaxPause(path) : Allowed;
        return most - time.GetElapsedTime(_since);
    }

    private TimeSpan Allowed => s_least + TimeSpan.FromSeconds(_unfinished / LeastBytesPerSecond);

    private RpcException Late() => Refuse(StatusCode.DeadlineExceeded, _unfinished == 0 && _hadMessage && method.IsClientStreaming
        ? $"The stream of {path} said nothing for {RpcMethods.MaxPause(path)?.TotalSeconds:0} s, expected its next message or its end. Call again."
        : $"A message of {path} did not come within {Allowed.TotalSeconds:0} s, expected all of it{(_unfinished > 0 ? $", {_unfinished:N0} bytes," : "")} and at least {LeastBytesPerSecond:N0} bytes/s. Call again, over a faster connection.");

    private RpcException? Refusal(bool isEnd)
    {
        var length = _buffer.Length;
        var wasUnfinished = _unfinished > 0;
        _unfinished = 0;
        if (length == 0)
            return isEnd && !_hadMessage && !method.IsClientStreaming ? Invalid($"The call of {path} has no message, expected one.") : null;
        if (_hadMessage && !method.IsClientStreaming)
            return Invalid($"The call of {path} goes on after its message, expected one alone.");
        if (!wasUnfinished && _hadMessage)
            _since = time.GetTimestamp(); // the pause before it is over
        if (length < PrefixBytes)
        {
            _unfinished = PrefixBytes;
            return isEnd ? Torn() : null;
        }

        Span<byte> prefix = stackalloc byte[PrefixBytes];
        _buffer.Slice(0, PrefixBytes).CopyTo(prefix);
        var bytes = BinaryPrimitives.ReadUInt32BigEndian(prefix[1..]);
        if (prefix[0] != 0)
            return Refuse(StatusCode.Unimplemented, $"A message of {path} is compressed, expected it as it is. Set no grpc-encoding.");
        if (bytes > _maxBytes)
            return Refuse(StatusCode.ResourceExhausted, $"A message of {path} has {bytes:N0} bytes, expected at most {_maxBytes:N0}. Send less.");
        if (length < PrefixBytes + bytes)
        {
            _unfinished = PrefixBytes + bytes;
            return isEnd ? Torn() : null;
        }

        if (length > PrefixBytes + bytes && !method.IsClientStreaming)
            return Invalid($"The call of {path} goes on after its message, expected one alone.");
        return WireScan.Refusal(_buffer.Slice(PrefixBytes, bytes), method.InputType) is { } refusal ? Invalid(refusal) : null;
    }

    private RpcException Torn() => Invalid($"The call of {path} ended within a message, expected all of it. Call again.");

    private static RpcException Invalid(string message) => Refuse(StatusCode.InvalidArgument, message);

    private static RpcException Refuse(StatusCode code, string message) => new(new Status(code, message));
}
