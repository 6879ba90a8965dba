using System.Net.Sockets;
using System.Runtime.InteropServices;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Ranks;

/// <summary>
/// A rank process: loads libtorch once, then runs one attempt after another for its agent. It lives as long as the
/// socket to the agent: when that ends it leaves at once, whatever its training thread is doing.
/// </summary>
public static class RankHost
{
    /// <summary>The environment variable with the word by which the agent knows this process.</summary>
    /// <remarks>Not an argument: those can be read by every user of the machine.</remarks>
    internal const string TokenVariable = "MLDIST_RANK_TOKEN";

    private const int Usage = 2;

    /// <summary>Serves the agent at "--socket PATH" until the agent is gone. Arguments: --socket PATH --slot N.</summary>
    /// <returns>The exit code, when the arguments are wrong or the agent is not there; otherwise it does not return.</returns>
    public static Task<int> RunAsync(IReadOnlyList<string> args) => RunAsync(args, RankEngine.Torch);

    internal static async Task<int> RunAsync(IReadOnlyList<string> args, RankEngine engine)
    {
        // A Ctrl-C in the app's terminal reaches the whole process group; the app decides, through the agent.
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, context => context.Cancel = true);
        // systemd, Slurm and shells that end a job tell every process of a service: the agent decides here too, and a rank that
        // went at once would take the steps along that its agent stays for.
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, context => context.Cancel = true);
        var socketPath = args.SkipWhile(a => a != "--socket").Skip(1).FirstOrDefault();
        var token = Environment.GetEnvironmentVariable(TokenVariable);
        if (socketPath is null || token is null)
        {
            await Console.Error.WriteLineAsync("A rank process is started by \"mldist worker\", not by hand.").ConfigureAwait(false);
            return Usage;
        }

        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(socketPath)).ConfigureAwait(false);
        }
        catch (SocketException e)
        {
            await Console.Error.WriteLineAsync($"The agent's socket \"{socketPath}\" does not answer ({e.Message}), expected a running worker.").ConfigureAwait(false);
            return 1;
        }

        using var stream = new NetworkStream(socket);
        var session = new RankSession(engine, new FrameWriter(stream), token);
        session.Start();
        try
        {
            var reader = new FrameReader(stream);
            while (await reader.ReadAsync(RankCommand.Parser, CancellationToken.None).ConfigureAwait(false) is { } command)
                session.Handle(command);
        }
        catch (Exception e) when (e is IOException or InvalidDataException or ObjectDisposedException)
        {
            // The agent is gone, or not to be understood: the same.
        }

        session.RemoveSegment();
        LeaveNow();
        return 0;
    }

    // No handlers, no finalisers, no native destructors: a training thread in native code could hold any of them up.
    internal static void LeaveNow()
    {
        using var self = System.Diagnostics.Process.GetCurrentProcess();
        self.Kill();
    }
}
