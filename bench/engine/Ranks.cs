using System.Diagnostics;

namespace MLDistributed.Engine.Bench;

/// <summary>Runs processes side by side and collects what each prints last.</summary>
internal static class Ranks
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);

    /// <summary>Starts this program once a rank; they begin together, when all have said that they are ready.</summary>
    public static string[] Run(int count, Func<int, string[]> arguments)
    {
        var started = Enumerable.Range(0, count).Select(rank => Start(Environment.ProcessPath!, arguments(rank))).ToArray();
        return Finish(started, process =>
        {
            var line = process.StandardOutput.ReadLine();
            if (line != "ready")
                throw new InvalidOperationException($"Rank said \"{line}\", expected \"ready\".");
        });
    }

    /// <summary>Runs another program, and gives the lines it printed.</summary>
    public static string[] Run(string program, params string[] arguments) => Finish([Start(program, arguments)], _ => { })[0].Split('\n');

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
            foreach (var process in processes)
            {
                if (!process.HasExited)
                    process.Kill(entireProcessTree: true);
                process.Dispose();
            }
        }
    }

    private static Process Start(string program, string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardInput = true, RedirectStandardOutput = true };
        // One thread a rank, ours and the peers': two ranks on two cores.
        foreach (var name in (string[])["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"])
            start.Environment[name] = "1";
        return Process.Start(start) ?? throw new InvalidOperationException($"{program} did not start.");
    }
}
