using System.Runtime.InteropServices;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Hosting;

/// <summary>
/// When a service leaves: at SIGTERM; at Ctrl-C and when its terminal closes, but with a lifeline when standard input ends instead. The lifeline is
/// held by the app that started the service: it ends however the app ends, by SIGKILL too.
/// </summary>
internal sealed partial class Lifespan : IDisposable
{
    private const int Hangup = 1;
    private const int Interrupt = 2;
    private const int Quit = 3;
    private static readonly IntPtr Ignore = 1;

    private readonly CancellationTokenSource _stop = new();
    private readonly List<PosixSignalRegistration> _signals = [];
    private readonly RunDirectory? _runDirectory;

    /// <param name="runDirectory">A folder to hold until the end; the last of its holders removes it. Null: none.</param>
    public Lifespan(bool lifeline, string? runDirectory)
    {
        // First, for what happens to the app's terminal reaches the whole process group, and the app decides what it means.
        // Ignored in the system itself: the coordinator's web host would leave at it whatever a handler here says, and
        // ranks inherit it.
        if (lifeline && !OperatingSystem.IsWindows())
        {
            foreach (var ofTheTerminal in (int[])[Hangup, Interrupt, Quit])
                signal(ofTheTerminal, Ignore);
        }

        _signals.Add(PosixSignalRegistration.Create(PosixSignal.SIGTERM, Leave));
        if (lifeline)
            _signals.Add(PosixSignalRegistration.Create(PosixSignal.SIGINT, context => context.Cancel = true));
        else
            _signals.AddRange([PosixSignalRegistration.Create(PosixSignal.SIGINT, Leave), PosixSignalRegistration.Create(PosixSignal.SIGHUP, Leave)]);
        _runDirectory = runDirectory is null ? null : Open(runDirectory);
        if (lifeline)
            _ = LeaveAtEndOfInputAsync();
    }

    public CancellationToken Stop => _stop.Token;

    // The source of the token is left to the finaliser: the lifeline may still end.
    public void Dispose()
    {
        foreach (var registration in _signals)
            registration.Dispose();
        _runDirectory?.Dispose();
    }

    private static RunDirectory Open(string path)
    {
        try
        {
            return RunDirectory.Open(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException($"Run directory \"{path}\" cannot be opened ({e.Message}), expected one that the starting app holds.");
        }
    }

    private void Leave(PosixSignalContext context)
    {
        context.Cancel = true;
        _stop.Cancel();
    }

    private async Task LeaveAtEndOfInputAsync()
    {
        await Task.Yield();
        try
        {
            var input = Console.OpenStandardInput();
            var buffer = new byte[256];
            while (await input.ReadAsync(buffer).ConfigureAwait(false) > 0)
            {
                // Whatever is said there: only the end means something.
            }
        }
        catch (IOException)
        {
            // As good as the end.
        }

        await _stop.CancelAsync().ConfigureAwait(false);
    }

    [LibraryImport("libc")]
    private static partial IntPtr signal(int number, IntPtr handler);
}
