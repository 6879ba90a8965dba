using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace MLDistributed.Collectives.Mpi;

/// <summary>
/// The process manager that MPICH expects, within its own process: PMI version 1, a line a message, over a socket pair.
/// What leaves the process is one all-gather of keys and values a fence, by the <see cref="IRendezvous"/>. No mpirun, no
/// listening port, no shared file system.
/// </summary>
internal sealed unsafe partial class PmiServer
{
    private const int UnixDomain = 1;
    private const int StreamCloseOnExec = 1 | 0x80000;
    private const string MappingKey = "PMI_process_mapping";

    private readonly IRendezvous _rendezvous;
    private readonly MpiOptions _options;
    private readonly CancellationToken _stop;
    private readonly Dictionary<string, string> _known;
    private readonly Dictionary<string, string> _put = new(StringComparer.Ordinal);

    /// <param name="rendezvous">For the fences.</param>
    /// <param name="options">Which rank MPICH is to be.</param>
    /// <param name="stop">Ends the wait in a fence.</param>
    public PmiServer(IRendezvous rendezvous, MpiOptions options, CancellationToken stop)
    {
        (_rendezvous, _options, _stop) = (rendezvous, options, stop);
        // Each rank on a node of its own.
        _known = new(StringComparer.Ordinal) { [MappingKey] = $"(vector,(0,{options.WorldSize},1))" };
    }

    /// <summary>Why it stopped to answer; completes in that case only.</summary>
    public TaskCompletionSource<Exception> Failed { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Serves on a thread of its own.</summary>
    /// <returns>MPICH's end of the socket pair.</returns>
    public int Start()
    {
        var pair = stackalloc int[2];
        if (SocketPair(UnixDomain, StreamCloseOnExec, 0, pair) != 0)
            throw new CollectiveException($"MPI cannot start: socketpair failed with error {Marshal.GetLastPInvokeError()}.");
        var server = new Socket(new SafeSocketHandle(pair[0], ownsHandle: true));
        new Thread(() => Serve(server)) { IsBackground = true, Name = "PMI" }.Start();
        return pair[1];
    }

    /// <summary>What MPICH is told, without the line's end.</summary>
    internal string Answer(string line)
    {
        var fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(f => f.Split('=', 2)).Where(f => f.Length == 2)
            .ToDictionary(f => f[0], f => f[1], StringComparer.Ordinal);
        switch (fields.GetValueOrDefault("cmd"))
        {
            case "init": return "cmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0";
            case "get_maxes": return "cmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024 rc=0";
            case "get_appnum": return "cmd=appnum appnum=0 rc=0";
            case "get_universe_size": return $"cmd=universe_size size={_options.WorldSize} rc=0";
            case "get_my_kvsname": return $"cmd=my_kvsname kvsname=kvs_{_options.RunId} rc=0";
            case "put":
                _put[fields["key"]] = fields["value"];
                return "cmd=put_result rc=0 msg=success";
            case "get":
                return _known.TryGetValue(fields["key"], out var value) ? $"cmd=get_result rc=0 value={value}" : "cmd=get_result rc=-1 msg=key_not_found value=unknown";
            case "barrier_in":
                Fence();
                return "cmd=barrier_out rc=0";
            case "finalize": return "cmd=finalize_ack rc=0";
            default: return "cmd=unknown rc=-1";
        }
    }

    private void Fence()
    {
        // Neither keys nor values hold white space: a message is fields between spaces.
        var mine = string.Join('\n', _put.Select(p => $"{p.Key} {p.Value}"));
        _put.Clear();
        foreach (var theirs in _rendezvous.AllGather(mine, _stop))
        {
            foreach (var pair in theirs.Split('\n', StringSplitOptions.RemoveEmptyEntries))
            {
                var at = pair.IndexOf(' ', StringComparison.Ordinal);
                _known[pair[..at]] = pair[(at + 1)..];
            }
        }
    }

    // Once it fails it is silent and stays open: at the socket's end MPICH would end the process, without words.
    private void Serve(Socket socket)
    {
        try
        {
            var stream = new NetworkStream(socket, ownsSocket: false);
            var reader = new StreamReader(stream, Encoding.ASCII);
            while (reader.ReadLine() is { } line)
                stream.Write(Encoding.ASCII.GetBytes(Answer(line) + "\n"));
        }
        catch (Exception e)
        {
            Failed.TrySetResult(e);
        }
    }

    [LibraryImport("libc", EntryPoint = "socketpair", SetLastError = true)]
    private static partial int SocketPair(int domain, int type, int protocol, int* pair);
}
