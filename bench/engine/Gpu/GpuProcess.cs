using System.Diagnostics;
using System.Globalization;
using MLDistributed.Worker.Devices;

namespace MLDistributed.Engine.Bench;

/// <summary>A process of the check of a GPU, ours or PyTorch's, while it runs.</summary>
internal sealed class GpuProcess : IDisposable
{
    private const double MiB = 1 << 20;
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan s_interval = TimeSpan.FromMilliseconds(50);

    private readonly Process _process;
    private readonly Task<string> _errors;
    private readonly long _usedBefore;
    private readonly NvmlDevices? _devices;
    private long _peak;

    /// <param name="devices">Those of the machine; null: the check is of the CPU.</param>
    /// <param name="program">The program.</param>
    /// <param name="arguments">Its own.</param>
    public GpuProcess(NvmlDevices? devices, string program, params string[] arguments)
    {
        _devices = devices;
        _usedBefore = Used();
        _process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        _errors = _process.StandardError.ReadToEndAsync();
    }

    /// <summary>The most memory that it was seen to have, in MiB: of the first GPU, beyond what that had before; or of the host.</summary>
    public double PeakMemory => _peak / MiB;

    /// <summary>Starts this program again.</summary>
    public static GpuProcess OfOurs(NvmlDevices? devices, params string[] arguments) => new(devices, Environment.ProcessPath!, ["gpu-rank", .. arguments]);

    /// <summary>The rest of the first line that begins with a word.</summary>
    /// <exception cref="InvalidOperationException">It ended, or took too long, without.</exception>
    public string Await(string word)
    {
        var started = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(started) < s_limit)
        {
            var line = _process.StandardOutput.ReadLineAsync();
            while (!line.Wait(s_interval) && Stopwatch.GetElapsedTime(started) < s_limit)
                Look();
            if (!line.IsCompletedSuccessfully || line.Result is null)
                break;
            Look();
            if (line.Result.StartsWith(word + " ", StringComparison.Ordinal))
                return line.Result[(word.Length + 1)..];
        }

        Kill();
        var words = _errors.Wait(s_limit) ? _errors.Result.Trim().Split('\n')[^1] : "";
        throw new InvalidOperationException($"{Path.GetFileName(_process.StartInfo.FileName)} {string.Join(' ', _process.StartInfo.ArgumentList.Take(3))} gave no {word}: {words}");
    }

    /// <summary>The numbers of that line.</summary>
    public double[] AwaitNumbers(string word) => [.. Await(word).Split(' ').Select(n => double.Parse(n, CultureInfo.InvariantCulture))];

    /// <summary>Ends it as the kernel would.</summary>
    public void Kill()
    {
        if (!_process.HasExited)
            _process.Kill(entireProcessTree: true);
        _process.WaitForExit();
    }

    public void Dispose()
    {
        Kill();
        _process.Dispose();
    }

    private void Look() => _peak = Math.Max(_peak, Used() - _usedBefore);

    private long Used()
    {
        if (_devices is not null)
            return _devices.List() is [var first, ..] ? first.MemoryUsedBytes : 0;
        if (_process is null || _process.HasExited)
            return 0;
        try
        {
            _process.Refresh();
            return _process.PeakWorkingSet64;
        }
        catch (InvalidOperationException)
        {
            return 0;
        }
    }
}
