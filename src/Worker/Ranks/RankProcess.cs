using System.Diagnostics;
using System.Globalization;
using System.Threading.Channels;
using MLDistributed.Protocol;
using MLDistributed.Training.Native;
using MLDistributed.Worker.Agents;

namespace MLDistributed.Worker.Ranks;

/// <summary>How a rank process ended.</summary>
/// <param name="ExitCode">128 + n: signal n.</param>
/// <param name="KilledBecause">What it did that the agent killed it for; null: the agent did not.</param>
internal sealed record RankExit(int ExitCode, IReadOnlyList<string> LastWords, string? KilledBecause = null);

/// <summary>A child process and its socket, seen from the agent.</summary>
internal sealed class RankProcess
{
    // Between the end of the socket and the end of the process, and between that and the end of its output.
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(1);

    private readonly Process _process;
    private readonly LastWords _lastWords = new();
    private readonly Channel<RankCommand> _commands = Channel.CreateUnbounded<RankCommand>(new UnboundedChannelOptions { SingleReader = true });
    private readonly TimeProvider _time;
    private volatile string? _killedBecause;
    private volatile Task _served = Task.CompletedTask;

    private RankProcess(Process process, int slot, string token, Action<RankProcess, string> onError, TimeProvider time)
    {
        _process = process;
        _time = time;
        ProcessId = process.Id;
        Slot = slot;
        Token = token;
        Exit = WatchAsync(onError);
    }

    public int Slot { get; }

    /// <summary>Pings since it last said anything. On the mailbox.</summary>
    public int UnansweredPings { get; set; }

    public string Token { get; }

    public int ProcessId { get; }

    /// <summary>Completes when the process has ended and its output is read.</summary>
    public Task<RankExit> Exit { get; }

    /// <param name="onError">Hears each line on standard error, on any thread.</param>
    public static RankProcess Start(RankCommandLine commandLine, WorkFolder work, int slot, RankEnvironment environment, Action<RankProcess, string> onError, TimeProvider time)
    {
        var token = Convert.ToHexStringLower(System.Security.Cryptography.RandomNumberGenerator.GetBytes(16));
        var start = new ProcessStartInfo(commandLine.Program)
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = work.Path, // the agent's own may be gone, and libtorch looks for its parts from it
        };
        foreach (var argument in (string[])[.. commandLine.Arguments, "--socket", work.SocketPath, "--slot", slot.ToString(CultureInfo.InvariantCulture)])
            start.ArgumentList.Add(argument);
        start.Environment[RankHost.TokenVariable] = token;
        var process = Run(start, environment);
        process.StandardInput.Close();
        return new RankProcess(process, slot, token, onError, time);
    }

    public void Send(RankCommand command) => _commands.Writer.TryWrite(command);

    /// <summary>Serves the socket of this process until it ends; then the process must end too.</summary>
    public async Task ServeAsync(Stream stream, FrameReader reader, Action<RankProcess, RankEvent> onEvent)
    {
        var served = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _served = served.Task;
        var sending = SendAllAsync(new FrameWriter(stream));
        try
        {
            while (await reader.ReadAsync(RankEvent.Parser, CancellationToken.None).ConfigureAwait(false) is { } message)
                onEvent(this, message);
        }
        catch (Exception e) when (e is IOException or InvalidDataException or ObjectDisposedException or Google.Protobuf.InvalidProtocolBufferException)
        {
            _lastWords.Add($"(the agent could not read from this process: {e.Message})");
        }

        served.SetResult();
        _commands.Writer.TryComplete();
        await sending.ConfigureAwait(false);
        try
        {
            await Exit.WaitAsync(Grace, _time).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            Kill();
        }
    }

    /// <param name="because">What it did wrong, as in "did not answer", when it is not the agent's own wish.</param>
    public void Kill(string? because = null)
    {
        _killedBecause ??= because;
        try
        {
            _process.Kill();
        }
        catch (Exception e) when (e is InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            // It has ended already.
        }
    }

    private static Process Run(ProcessStartInfo start, RankEnvironment environment)
    {
        try
        {
            return environment.Start(start);
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            throw new AgentException($"Program \"{start.FileName}\" of the rank processes does not start ({e.Message}), expected the executable of mldist.", e);
        }
    }

    private async Task SendAllAsync(FrameWriter writer)
    {
        // Off the caller's thread: a stopped process does not read, and a write to it blocks.
        await Task.Yield();
        try
        {
            await foreach (var command in _commands.Reader.ReadAllAsync().ConfigureAwait(false))
                writer.Write(command);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // It is gone: its exit says the rest.
        }
    }

    private async Task<RankExit> WatchAsync(Action<RankProcess, string> onError)
    {
        var output = Task.WhenAll(
            ReadAsync(_process.StandardOutput, _lastWords.Add),
            ReadAsync(_process.StandardError, line =>
            {
                // Twenty frames would push out what was said before them.
                if (!NativeMessage.IsStack(line))
                    _lastWords.Add(line);
                onError(this, line);
            }));
        await _process.WaitForExitAsync().ConfigureAwait(false);
        // What it said last is heard before its end. Bounded: a grandchild may hold the pipe open.
        await Task.WhenAny(Task.WhenAll(output, _served), Task.Delay(Grace, _time)).ConfigureAwait(false);
        var exit = new RankExit(_process.ExitCode, _lastWords.ToList(), _killedBecause);
        _process.Dispose();
        return exit;
    }

    private static async Task ReadAsync(StreamReader reader, Action<string> onLine)
    {
        await foreach (var line in BoundedLines.ReadAsync(reader).ConfigureAwait(false))
            onLine(line);
    }
}
