using System.Net;
using System.Net.Sockets;
using MLDistributed.Collectives.Heartbeats;
using MLDistributed.Collectives.Mpi;

namespace Collectives.Tests.Heartbeats;

[TestClass, DoNotParallelize] // of ports
public sealed class HostSocketTests
{
    // Nobody accepts here: that they reach it is all that ranks ask.
    [TestMethod]
    public async Task Listener_WithStrangersAtItsPort_LetsTheRanksIn()
    {
        const int strangers = 20;
        using var stop = new CancellationTokenSource(TimeSpan.FromSeconds(30));
        using var listener = HostSocket.Bind(new MpiOptions { Rank = 0, WorldSize = 2, NetworkAddress = "127.0.0.1", FirstPort = 21_200, LastPort = 21_299 }, ProtocolType.Tcp);
        var sockets = Enumerable.Range(0, strangers + 1).Select(_ => new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp)).ToList();
        try
        {
            foreach (var socket in sockets)
                await socket.ConnectAsync((IPEndPoint)listener.LocalEndPoint!, stop.Token);
        }
        finally
        {
            sockets.ForEach(s => s.Dispose());
        }
    }
}
