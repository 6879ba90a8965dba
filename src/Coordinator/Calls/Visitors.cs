using Grpc.Core;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace MLDistributed.Coordinator.Calls;

/// <summary>
/// The connections that have not shown a key yet. Beyond a number of them the oldest is closed for the newest: who has a key
/// shows it within his first call, and nobody without one can fill the place.
/// </summary>
internal sealed class Visitors
{
    private const int MaxStrangers = 2000; // a thousand workers may come at once after a restart
    private readonly Lock _gate = new();
    private readonly LinkedList<Visitor> _strangers = [];

    /// <summary>Watches over the connections of an endpoint, from before their TLS handshake on.</summary>
    public void Watch(ListenOptions listen) => listen.Use(next => async connection =>
    {
        var visitor = new Visitor(this, connection);
        connection.Features.Set(visitor);
        Add(visitor);
        try
        {
            await next(connection).ConfigureAwait(false);
        }
        finally
        {
            Remove(visitor);
        }
    });

    public void Remove(Visitor visitor)
    {
        lock (_gate)
            _strangers.Remove(visitor);
    }

    private void Add(Visitor visitor)
    {
        Visitor? oldest = null;
        lock (_gate)
        {
            if (_strangers.Count >= MaxStrangers)
            {
                oldest = _strangers.First!.Value;
                _strangers.RemoveFirst();
            }

            _strangers.AddLast(visitor);
        }

        oldest?.Leave();
    }
}

/// <summary>A connection over a network.</summary>
internal sealed class Visitor(Visitors visitors, ConnectionContext connection)
{
    private const int MaxCallsWithoutKey = 16;
    private int _isKnown;
    private int _calls;

    /// <summary>A call over it had a key.</summary>
    public void Introduce()
    {
        if (Interlocked.Exchange(ref _isKnown, 1) == 0)
            visitors.Remove(this);
    }

    /// <summary>Counts a call without a key, until disposed.</summary>
    /// <exception cref="RpcException">There are too many of them.</exception>
    public IDisposable Enter()
    {
        if (Interlocked.Increment(ref _calls) <= MaxCallsWithoutKey)
            return new Call(this);
        Interlocked.Decrement(ref _calls);
        throw new RpcException(new Status(StatusCode.ResourceExhausted, $"This connection has {MaxCallsWithoutKey} calls without a key open, expected fewer. End some of them."));
    }

    public void Leave() => connection.Abort(new ConnectionAbortedException("Too many connections show no key."));

    private sealed class Call(Visitor visitor) : IDisposable
    {
        public void Dispose() => Interlocked.Decrement(ref visitor._calls);
    }
}
