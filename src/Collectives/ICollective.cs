namespace MLDistributed.Collectives;

/// <summary>
/// What the ranks of one attempt do together. All ranks call the same operations in the same order with the same lengths.
/// Every wait is bounded: by the time limit the collective was made with, and by <see cref="Abort"/>.
/// </summary>
/// <exception cref="CollectiveAbortedException">Any operation: a rank has aborted.</exception>
/// <exception cref="CollectiveTimeoutException">Any operation: a rank did not come in time.</exception>
/// <exception cref="CollectiveMismatchException">Any operation: ranks called different operations, or with different lengths.</exception>
public interface ICollective : IDisposable
{
    /// <summary>This rank, from 0.</summary>
    int Rank { get; }

    /// <summary>How many ranks there are.</summary>
    int WorldSize { get; }

    /// <summary>Whether this rank has aborted, or knows of one that has.</summary>
    bool IsAborted { get; }

    /// <summary>Replaces the values by their sums over all ranks. The same bits on all ranks: summed in rank order, host by host where ranks of several hosts meet.</summary>
    void AllReduce(Span<float> values);

    /// <inheritdoc cref="AllReduce(Span{float})"/>
    void AllReduce(Span<double> values);

    /// <summary><see cref="AllReduce(Span{float})"/>, with fewer bytes where a network is between ranks. In memory that they share nothing is sent, and nothing rounded.</summary>
    void AllReduce(Span<float> values, WireType wire) => AllReduce(values);

    /// <summary>Gives each rank the sums of its own shard.</summary>
    /// <param name="values">As long on every rank; unchanged.</param>
    /// <param name="shard">This rank's part of <paramref name="values"/>, as <see cref="Shard.Of(long, int, int)"/> has it.</param>
    void ReduceScatter(ReadOnlySpan<float> values, Span<float> shard);

    /// <inheritdoc cref="ReduceScatter(ReadOnlySpan{float}, Span{float})"/>
    void ReduceScatter(ReadOnlySpan<double> values, Span<double> shard);

    /// <summary>Puts every rank's shard together on all ranks.</summary>
    /// <param name="shard">This rank's part of <paramref name="values"/>, as <see cref="Shard.Of(long, int, int)"/> has it.</param>
    /// <param name="values">As long on every rank.</param>
    void AllGather(ReadOnlySpan<float> shard, Span<float> values);

    /// <inheritdoc cref="AllGather(ReadOnlySpan{float}, Span{float})"/>
    void AllGather(ReadOnlySpan<double> shard, Span<double> values);

    /// <summary>Gives all ranks the values of <paramref name="root"/>.</summary>
    void Broadcast(Span<float> values, int root);

    /// <inheritdoc cref="Broadcast(Span{float}, int)"/>
    void Broadcast(Span<double> values, int root);

    /// <summary>Returns when all ranks have come. What a rank wrote before is seen by all after.</summary>
    void Barrier();

    /// <summary><see cref="Barrier()"/> with a time limit of its own.</summary>
    void Barrier(TimeSpan timeout);

    /// <summary>Makes every operation of every rank fail from now on, those that wait included (within 100 ms). From any thread; idempotent.</summary>
    void Abort();
}
