using System.Diagnostics;
using MLDistributed.Worker.Ranks;

namespace MLDistributed.Engine.Bench;

/// <summary>Starts processes side by side; collects what those print that are not a <see cref="Job"/>'s.</summary>
internal static class Ranks
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);

    // Two peers on two cores.
    private static readonly Dictionary<string, string> s_oneThread = new() { ["OMP_NUM_THREADS"] = "1", ["OPENBLAS_NUM_THREADS"] = "1", ["MKL_NUM_THREADS"] = "1" };

    /// <summary>Starts this program once a rank, in a worker's environment.</summary>
    public static Process[] Start(int count, Func<int, string[]> arguments, int threads = 1, bool randomAddresses = false)
    {
        var environment = new RankEnvironment(Math.Min(count * threads, Environment.ProcessorCount), count);
        return [.. Enumerable.Range(0, count).Select(rank => StartInfo(Environment.ProcessPath!, arguments(rank))).Select(start =>
            randomAddresses ? StartIn(start, environment.Variables) : environment.Start(start))];
    }

    /// <summary>Starts a peer with one thread.</summary>
    public static Process Start(string program, params string[] arguments) => StartIn(StartInfo(program, arguments), s_oneThread);

    /// <summary>Runs this program once a rank; they begin together, when all have said that they are ready.</summary>
    public static string[] Run(int count, Func<int, string[]> arguments) => Finish(Start(count, arguments), process =>
    {
        var line = process.StandardOutput.ReadLine();
        if (line != "ready")
            throw new InvalidOperationException($"Rank said \"{line}\", expected \"ready\".");
    });

    /// <summary>Runs a peer, and gives the lines it printed. Once more when it fails: one that crashes must not cost the other results.</summary>
    public static string[] Run(string program, params string[] arguments)
    {
        try
        {
            return RunOnce();
        }
        catch (InvalidOperationException e)
        {
            Console.Error.WriteLine($"{e.Message} Once more.");
            return RunOnce();
        }

        string[] RunOnce() => Finish([Start(program, arguments)], _ => { })[0].Split('\n');
    }

    /// <summary>Kills those that still run.</summary>
    public static void End(Process[] processes)
    {
        foreach (var process in processes.OfType<Process>()) // where one did not start, those behind it are not there
        {
            if (!process.HasExited)
                process.Kill(entireProcessTree: true);
            process.Dispose();
        }
    }

    /// <summary>A path for ranks' shared memory.</summary>
    public static string NewSegment() => Path.Combine(Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath(), $"mldist-bench-{Guid.NewGuid():N}");

    private static string[] Finish(Process[] processes, Action<Process> awaitReady)
    {
        try
        {
            Array.ForEach(processes, awaitReady);
            foreach (var process in processes)
                process.StandardInput.Close();
            var outputs = processes.Select(p => p.StandardOutput.ReadToEndAsync()).ToArray();
            foreach (var process in processes)
            {
                if (!process.WaitForExit(s_limit) || process.ExitCode != 0)
                    throw new InvalidOperationException($"{process.StartInfo.FileName} {string.Join(' ', process.StartInfo.ArgumentList)} failed or did not end within {s_limit}.");
            }

            return [.. outputs.Select(o => o.Result.TrimEnd())];
        }
        finally
        {
            End(processes);
        }
    }

    private static Process StartIn(ProcessStartInfo start, IReadOnlyDictionary<string, string> variables)
    {
        foreach (var (name, value) in variables)
            start.Environment[name] = value;
        return Process.Start(start) ?? throw new InvalidOperationException($"{start.FileName} did not start.");
    }

    private static ProcessStartInfo StartInfo(string program, string[] arguments) => new(program, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true };
}
