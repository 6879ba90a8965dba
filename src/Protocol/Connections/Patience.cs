using Grpc.Core;

namespace MLDistributed.Protocol;

/// <summary>Waits for another side that have an end: a silent server is said to be one.</summary>
public static class Patience
{
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(500);

    /// <summary>Whether a task ends within a time, counted while this process runs.</summary>
    /// <param name="task">What is waited for; it goes on when the time is over.</param>
    /// <param name="limit">How long.</param>
    /// <param name="time">The clock.</param>
    public static async Task<bool> EndsWithinAsync(this Task task, TimeSpan limit, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(task);
        if (task.IsCompleted)
            return true;
        using var watch = new AwakeStopwatch(time);
        while (limit - watch.Elapsed is var left && left > TimeSpan.Zero)
        {
            using var woken = new CancellationTokenSource();
            var look = Task.Delay(left < s_look ? left : s_look, time, woken.Token);
            if (await Task.WhenAny(task, look).ConfigureAwait(false) == task)
            {
                await woken.CancelAsync().ConfigureAwait(false);
                return true;
            }
        }

        return task.IsCompleted;
    }

    /// <summary>The answer to a call, or <see cref="StatusCode.DeadlineExceeded"/> when there is none in time.</summary>
    /// <param name="call">The call; it is ended then.</param>
    /// <param name="limit">How long the other side may say nothing.</param>
    /// <param name="time">The clock.</param>
    public static async Task<T> AnswerWithinAsync<T>(this AsyncUnaryCall<T> call, TimeSpan limit, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(call);
        using (call)
            return await InTimeAsync(call.ResponseAsync, limit, time).ConfigureAwait(false);
    }

    /// <summary>The next message of a stream that gets on: false at its end, <see cref="StatusCode.DeadlineExceeded"/> when there is none in time.</summary>
    /// <param name="stream">The stream, whose call the caller ends.</param>
    /// <param name="limit">How long the other side may say nothing.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellation">Ends the wait.</param>
    public static Task<bool> NextWithinAsync<T>(this IAsyncStreamReader<T> stream, TimeSpan limit, TimeProvider time, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(stream);
        return InTimeAsync(stream.MoveNext(cancellation), limit, time);
    }

    /// <summary>The next message of a stream that may be quiet for long, as a job that waits is. In the quiet it is asked whether the other side is there.</summary>
    /// <param name="stream">The stream, whose call the caller ends.</param>
    /// <param name="quiet">How long it may be quiet before that is asked.</param>
    /// <param name="mayGoOn">Asks: throws when there is no answer; false when no message will come any more.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellation">Ends the wait.</param>
    public static async Task<bool> NextOrAskAsync<T>(this IAsyncStreamReader<T> stream, TimeSpan quiet, Func<Task<bool>> mayGoOn, TimeProvider time, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(stream);
        ArgumentNullException.ThrowIfNull(mayGoOn);
        var next = stream.MoveNext(cancellation);
        while (!await next.EndsWithinAsync(quiet, time).ConfigureAwait(false))
        {
            // A message that came meanwhile counts more than what was asked.
            if (!await mayGoOn().ConfigureAwait(false) && !next.IsCompleted)
                return false;
        }

        return await next.ConfigureAwait(false);
    }

    /// <summary>What a task gives, or <see cref="StatusCode.DeadlineExceeded"/> when it does not end in time.</summary>
    /// <param name="task">What is waited for; it goes on when the time is over.</param>
    /// <param name="limit">How long.</param>
    /// <param name="time">The clock.</param>
    public static async Task<T> InTimeAsync<T>(Task<T> task, TimeSpan limit, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(task);
        await InTimeAsync((Task)task, limit, time).ConfigureAwait(false);
        return await task.ConfigureAwait(false);
    }

    /// <inheritdoc cref="InTimeAsync{T}"/>
    public static async Task InTimeAsync(Task task, TimeSpan limit, TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(task);
        if (!await task.EndsWithinAsync(limit, time).ConfigureAwait(false))
            throw new RpcException(new Status(StatusCode.DeadlineExceeded, FormattableString.Invariant($"It gave no answer in {limit.TotalSeconds:0.#} s.")));
        await task.ConfigureAwait(false);
    }

    /// <summary>
    /// Whether the other side took what was written to its stream; false when it has ended the stream: why is in its answer. A connection that breaks
    /// under a write ends it by an IOException, which gRPC hands on as it is.
    /// </summary>
    /// <param name="write">The write, or the stream's end.</param>
    /// <exception cref="RpcException"><see cref="StatusCode.DeadlineExceeded"/>: it took nothing in time.</exception>
    public static async Task<bool> IsTakenAsync(this Task write)
    {
        ArgumentNullException.ThrowIfNull(write);
        try
        {
            await write.ConfigureAwait(false);
            return true;
        }
        catch (Exception e) when (e is InvalidOperationException or IOException or RpcException { StatusCode: not StatusCode.DeadlineExceeded })
        {
            return false;
        }
    }
}
