using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>This program in the place of mldist, or of an app that uses a local cluster.</summary>
internal static class StandIn
{
    public static async Task<int> RunAsync(string role, string[] args)
    {
        if (role == "app")
            return await RunAppAsync();
        if (role == "fit")
            return await FitAsync();
        if (Environment.GetEnvironmentVariable("STAND_IN_FAILS") == role)
        {
            await Console.Error.WriteLineAsync("libtorch is not for this machine");
            return 3;
        }

        if (Environment.GetEnvironmentVariable("STAND_IN_HANGS") == role)
            await Task.Delay(Timeout.Infinite);
        using var directory = RunDirectory.Open(Option(args, "--run-directory"));
        await Console.Out.WriteLineAsync($"{role} runs with {string.Join(' ', args)}; urls {Environment.GetEnvironmentVariable("ASPNETCORE_URLS") ?? "none"}");
        var coordinator = role == "coordinator"
            ? await FakeCoordinator.StartAsync(Environment.GetEnvironmentVariable("STAND_IN_TRAINS_ON") is null ? new Script() : new Script { Events = [.. Script.Succeeding().Take(2)] }, Socket(Option(args, "--socket")))
            : null;
        await Console.In.ReadToEndAsync(); // the lifeline
        if (coordinator is not null)
            await coordinator.DisposeAsync();
        return 0;
    }

    /// <summary>A folder in which "mldist" is this program.</summary>
    public static string MakeRuntime(string folder, string? environment = null)
    {
        var path = Path.Combine(folder, "mldist");
        File.WriteAllText(path, $"#!/bin/sh\n{environment}\nexec \"{Environment.ProcessPath}\" stand-in \"$@\"\n");
        if (!OperatingSystem.IsWindows())
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return folder;
    }

    private static async Task<int> RunAppAsync()
    {
        var cluster = TrainingCluster.Automatic; // never disposed here
        await cluster.GetStatusAsync();
        if (!ReferenceEquals(cluster, TrainingCluster.Automatic))
            return 1;
        await Console.Out.WriteLineAsync($"{Uri.EscapeDataString(cluster.Local!.RunFolder)} {Uri.EscapeDataString(cluster.Local.SocketPath)} {string.Join(' ', cluster.Local.ProcessIds)}");
        await Console.In.ReadToEndAsync();
        return 0;
    }

    // Ends by the end of Main or by Exit, as it is told, while another thread is in Fit.
    private static async Task<int> FitAsync()
    {
        var ml = new MLContext(1);
        var running = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        ml.Log += (_, e) =>
        {
            if (e.Message.Contains("running on", StringComparison.Ordinal))
                running.TrySetResult();
        };
        var rows = ml.Data.LoadFromEnumerable(Enumerable.Range(0, 100).Select(i => new Row { Label = i % 2 == 0, Features = [i] }));
        new Thread(() => ml.BinaryClassification.Trainers.DistributedNeuralNetwork().Fit(rows)) { IsBackground = true }.Start();
        await running.Task;
        await Console.Out.WriteLineAsync("training");
        if (await Console.In.ReadLineAsync() == "exit 3")
            Environment.Exit(3);
        return 0;
    }

    private sealed class Row
    {
        public bool Label { get; set; }

        [Microsoft.ML.Data.VectorType(1)]
        public float[] Features { get; set; } = [];
    }

    private static string Socket(string path)
    {
        File.Delete(path); // of a coordinator that was killed
        return path;
    }

    private static string Option(string[] args, string name) => args[Array.IndexOf(args, name) + 1];
}
