using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;

namespace Cluster.Tests;

/// <summary>Slurm's own daemons with two nodes on this machine, in a folder of their own.</summary>
internal sealed class SlurmCluster : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);
    private readonly List<Process> _daemons = [];
    private readonly string _folder = Directory.CreateTempSubdirectory("mlslurm-").FullName;

    /// <summary>Why there can be none here; null: there can.</summary>
    public static string? Unavailable() =>
        Environment.UserName != "root" ? "Slurm's daemons need root"
        : new[] { "/usr/sbin/munged", "/usr/sbin/slurmctld", "/usr/sbin/slurmd", "/usr/bin/sbatch" }.FirstOrDefault(f => !File.Exists(f)) is { } missing ? $"{missing} is missing: apt install slurm-wlm"
        : null;

    /// <summary>What commands of Slurm need in their environment.</summary>
    public string Configuration => Path.Combine(_folder, "slurm.conf");

    public static async Task<SlurmCluster> StartAsync()
    {
        var cluster = new SlurmCluster();
        try
        {
            await cluster.StartDaemonsAsync();
            return cluster;
        }
        catch
        {
            await cluster.DisposeAsync();
            throw;
        }
    }

    /// <summary>A command of Slurm's and what it printed.</summary>
    public async Task<string> RunAsync(string command, params string[] arguments)
    {
        using var process = Start(command, arguments, keepsOutput: true);
        var output = await process.StandardOutput.ReadToEndAsync().WaitAsync(Limit);
        await process.WaitForExitAsync().WaitAsync(Limit);
        return output.Trim();
    }

    public async ValueTask DisposeAsync()
    {
        if (File.Exists(Configuration))
        {
            await RunAsync("scancel", "--user=root");
            await UntilAsync(async () => await RunAsync("squeue", "--noheader") == "", "jobs do not end");
        }

        foreach (var daemon in Enumerable.Reverse(_daemons))
        {
            daemon.Kill(entireProcessTree: true);
            await daemon.WaitForExitAsync().WaitAsync(Limit);
            daemon.Dispose();
        }

        Directory.Delete(_folder, recursive: true);
    }

    private async Task StartDaemonsAsync()
    {
        foreach (var name in new[] { "state", "spool" })
            Directory.CreateDirectory(Path.Combine(_folder, name));
        var key = Path.Combine(_folder, "munge.key");
        await File.WriteAllBytesAsync(key, RandomNumberGenerator.GetBytes(128));
        var ports = FreePorts(3);
        await File.WriteAllTextAsync(Configuration, $"""
            ClusterName=mldist
            SlurmctldHost=localhost
            SlurmctldPort={ports[0]}
            AuthType=auth/munge
            AuthInfo=socket={_folder}/munge.sock
            SlurmUser=root
            SlurmdUser=root
            StateSaveLocation={_folder}/state
            SlurmdSpoolDir={_folder}/spool/%n
            SlurmctldPidFile={_folder}/ctld.pid
            SlurmdPidFile={_folder}/%n.pid
            ProctrackType=proctrack/linuxproc
            TaskPlugin=task/none
            SelectType=select/cons_tres
            SelectTypeParameters=CR_Core
            MpiDefault=none
            SchedulerParameters=sched_interval=2,sched_min_interval=100000
            NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
            NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
            PartitionName=all Nodes=ALL Default=YES State=UP

            """);
        _daemons.Add(Start("munged", ["--foreground", "--force", $"--key-file={key}", $"--socket={_folder}/munge.sock", $"--pid-file={_folder}/munged.pid", $"--log-file={_folder}/munged.log", $"--seed-file={_folder}/munged.seed"]));
        await UntilAsync(() => Task.FromResult(File.Exists(Path.Combine(_folder, "munge.sock"))), "munged does not answer");
        _daemons.Add(Start("slurmctld", ["-D"]));
        _daemons.Add(Start("slurmd", ["-D", "-N", "n1"]));
        _daemons.Add(Start("slurmd", ["-D", "-N", "n2"]));
        await UntilAsync(async () => await RunAsync("sinfo", "--noheader", "--format=%D %t") == "2 idle", "the nodes are not idle");
    }

    private Process Start(string command, string[] arguments, bool keepsOutput = false)
    {
        var start = new ProcessStartInfo(command, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["SLURM_CONF"] = Configuration;
        var process = Process.Start(start)!;
        process.ErrorDataReceived += (_, _) => { };
        process.BeginErrorReadLine();
        if (!keepsOutput)
            process.BeginOutputReadLine();
        return process;
    }

    private static int[] FreePorts(int count)
    {
        var listeners = Enumerable.Range(0, count).Select(_ => new TcpListener(IPAddress.Loopback, 0)).ToArray();
        foreach (var listener in listeners)
            listener.Start();
        var ports = listeners.Select(l => ((IPEndPoint)l.LocalEndpoint).Port).ToArray();
        foreach (var listener in listeners)
            listener.Dispose();
        return ports;
    }

    private static async Task UntilAsync(Func<Task<bool>> condition, string otherwise)
    {
        for (var started = Stopwatch.GetTimestamp(); !await condition(); await Task.Delay(100))
            Assert.IsLessThan(Limit, Stopwatch.GetElapsedTime(started), otherwise);
    }
}
