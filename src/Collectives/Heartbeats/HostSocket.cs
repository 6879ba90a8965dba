using System.Net;
using System.Net.Sockets;
using MLDistributed.Collectives.Mpi;

namespace MLDistributed.Collectives.Heartbeats;

/// <summary>Where other ranks reach this one.</summary>
internal static class HostSocket
{
    // Nobody accepts: what looks at ports from elsewhere waits here too, and must not keep the other ranks out.
    private const int Backlog = 128;

    /// <summary>A socket at the first free port of the world's.</summary>
    /// <exception cref="HostNetworkException">None is free, or this host has no address.</exception>
    public static Socket Bind(MpiOptions options, ProtocolType protocol)
    {
        if (!IPAddress.TryParse(options.NetworkAddress, out var address))
            throw new HostNetworkException($"Network interface \"{options.NetworkInterface}\" has the address \"{options.NetworkAddress}\", expected one at which the other hosts reach this one. See whether it has lost its own.");
        for (var port = options.FirstPort; ; port++)
        {
            var socket = new Socket(address.AddressFamily, protocol == ProtocolType.Tcp ? SocketType.Stream : SocketType.Dgram, protocol) { Blocking = false };
            try
            {
                socket.Bind(new IPEndPoint(address, port));
                if (protocol == ProtocolType.Tcp)
                    socket.Listen(Math.Max(Backlog, options.WorldSize)); // two can be bound at one port, but not listen
                return socket;
            }
            catch (SocketException e)
            {
                socket.Dispose();
                if (e.SocketErrorCode == SocketError.AddressAlreadyInUse && port < options.LastPort)
                    continue;
                throw new HostNetworkException($"Rank {options.Describe(options.Rank)} can listen on no {(protocol == ProtocolType.Tcp ? "TCP" : "UDP")} port of {options.FirstPort} to {options.LastPort} at {address} ({e.Message}), expected a free one: other ranks reach it there. Give the worker other ports (--network-ports).");
            }
        }
    }
}
