using System.Globalization;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Networks;

/// <summary>The ports at which a worker's ranks are found by those of others: TCP for MPI and data, UDP for heartbeats.</summary>
/// <param name="First">From 1024, as ranks are no administrators.</param>
/// <param name="Last">The last one.</param>
internal sealed record PortRange(int First, int Last)
{
    /// <summary>What a worker has by itself: 7300 to 7399.</summary>
    public static PortRange Default { get; } = new(7300, 7399);

    /// <param name="text">As in "7300-7399".</param>
    /// <exception cref="AgentException">It is no range.</exception>
    public static PortRange Parse(string text)
    {
        if (text.Split('-') is [var first, var last] && TryParse(first, out var from) && TryParse(last, out var to) && from <= to)
            return new PortRange(from, to);
        throw new AgentException($"Network ports are \"{VisibleText.Shortened(text)}\", expected the first and the last of a range within 1024 to 65535, as \"7300-7399\" (--network-ports).");
    }

    private static bool TryParse(string text, out int port) => int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out port) && port is >= 1024 and <= ushort.MaxValue;
}
