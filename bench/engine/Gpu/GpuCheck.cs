using System.Globalization;
using MLDistributed.Protocol;
using MLDistributed.Worker.Devices;

namespace MLDistributed.Engine.Bench;

/// <summary>
/// The check of a machine with a GPU (eng/gpu-check.sh): our training on it beside PyTorch's, the losses beside the CPU's, and
/// what is left after a kill. One table.
/// </summary>
internal sealed class GpuCheck(string device, string? python, double seconds, NvmlDevices? devices, string data)
{
    private const int CurveSteps = 30;
    private static readonly Dictionary<Precision, double> s_tolerances = new() { [Precision.Float32] = 1e-3, [Precision.TensorFloat32] = 1e-2, [Precision.BFloat16] = 5e-2 };
    private readonly List<string> _failures = [];

    /// <summary>Arguments: cuda or cpu, seconds a measurement, a python with torch or -, and models, or none for all.</summary>
    public static int Run(string[] args)
    {
        var device = args[0];
        var devices = device == "cuda" ? new NvmlDevices(new NvmlLibrary()) : null;
        var folder = Directory.CreateTempSubdirectory("mldist-gpu-check-").FullName;
        try
        {
            var check = new GpuCheck(device, args[2] == "-" ? null : args[2], double.Parse(args[1], CultureInfo.InvariantCulture), devices, folder);
            Console.WriteLine("| check | precision | ours | PyTorch eager | ours / PyTorch | peak memory, ours | PyTorch |");
            Console.WriteLine("| --- | --- | --- | --- | --- | --- | --- |");
            check.ListDevices();
            string[] models = args.Length > 3 ? args[3..] : ["tiny", "mlp", "cnn", "transformer"];
            foreach (var model in models)
                check.CheckModel(Model.Named(model));
            check.Try($"{models[0]}: killed, goes on from its checkpoint", Precision.Float32, () => check.KillAndResume(Model.Named(models[0])));
            check._failures.ForEach(f => Console.Error.WriteLine(f));
            return check._failures.Count == 0 ? 0 : 1;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private void ListDevices()
    {
        if (devices is null)
            Row("devices", "", $"CPU, {Environment.ProcessorCount} cores");
        else if (devices.List() is { Count: > 0 } all)
            Row("devices, by NVML", "", string.Join("; ", all.Select(d => $"{d.Name}, {d.MemoryBytes / (1 << 20):N0} MiB")));
        else
            Fail("devices, by NVML", "", "NVML lists none");
    }

    private void CheckModel(Model model)
    {
        var file = Path.Combine(data, model.Name);
        TrainRank.WriteData(model, file);
        foreach (var precision in Enum.GetValues<Precision>())
        {
            // Modules of their own cast themselves, and these do not.
            if (precision == Precision.BFloat16 && model.Module is not null)
                continue;
            Try($"{model.Name}: samples/s, {model.BatchSize} rows a step", precision, () => Speed(model, precision, file));
            Try($"{model.Name}: {CurveSteps} losses beside the CPU's", precision, () => Curve(model, precision, file));
        }
    }

    private string[] Speed(Model model, Precision precision, string file)
    {
        using var ours = GpuProcess.OfOurs(devices, model.Name, device, $"{precision}", file, Folder(), "-", Text(seconds), "s");
        var speed = ours.AwaitNumbers("speed")[0];
        ours.Kill();
        if (python is null)
            return [$"{speed:N0}", "", "", Memory(ours)];
        using var torch = new GpuProcess(devices, python, "-u", Path.Combine(AppContext.BaseDirectory, "gpu.py"), model.Name, device, $"{precision}", $"{model.BatchSize}", Text(seconds));
        var other = torch.AwaitNumbers("speed")[0];
        return [$"{speed:N0}", $"{other:N0}", $"{speed / other:0.00}", Memory(ours), Memory(torch)];
    }

    private string[] Curve(Model model, Precision precision, string file)
    {
        using var there = GpuProcess.OfOurs(devices, model.Name, device, $"{precision}", file, Folder(), "-", $"{CurveSteps}", "steps");
        using var here = GpuProcess.OfOurs(null, model.Name, "host", $"{Precision.Float32}", file, Folder(), "-", $"{CurveSteps}", "steps");
        return [Near(here.AwaitNumbers("losses"), there.AwaitNumbers("losses"), s_tolerances[precision])];
    }

    // The second process has steps of the first again, whose losses are compared, and new ones.
    private string[] KillAndResume(Model model)
    {
        var file = Path.Combine(data, model.Name);
        using var first = GpuProcess.OfOurs(devices, model.Name, device, $"{Precision.Float32}", file, Folder(), "-", "3600", "s");
        var checkpoint = first.Await("checkpoint").Split(' ');
        first.Kill();
        var step = int.Parse(checkpoint[0], CultureInfo.InvariantCulture);
        using var whole = GpuProcess.OfOurs(devices, model.Name, device, $"{Precision.Float32}", file, Folder(), "-", $"{step + CurveSteps}", "steps");
        var expected = whole.AwaitNumbers("losses")[step..];
        using var second = GpuProcess.OfOurs(devices, model.Name, device, $"{Precision.Float32}", file, Folder(), checkpoint[1], $"{CurveSteps}", "steps");
        return [$"from step {step:N0}: {Near(expected, second.AwaitNumbers("losses"), s_tolerances[Precision.Float32])}"];
    }

    private static string Near(double[] expected, double[] actual, double tolerance)
    {
        var off = expected.Zip(actual, (e, a) => Math.Abs(a - e) / Math.Abs(e)).Max();
        return off <= tolerance ? $"within {off:0.0e+0}" : throw new InvalidOperationException($"off by {off:0.0e+0}, expected {tolerance:0.0e+0} at most");
    }

    private void Try(string check, Precision precision, Func<string[]> measure)
    {
        try
        {
            Row(check, $"{precision}", measure());
        }
        catch (Exception e) when (e is InvalidOperationException or AggregateException or FormatException)
        {
            Fail(check, $"{precision}", e.GetBaseException().Message);
        }
    }

    private void Fail(string check, string precision, string words)
    {
        Row(check, precision, $"**failed**: {words.ReplaceLineEndings(" ").Replace("|", "/", StringComparison.Ordinal)}");
        _failures.Add($"{check} {precision}: {words}");
    }

    private static void Row(string check, string precision, params string[] cells) =>
        Console.WriteLine($"| {check} | {precision} | {string.Join(" | ", cells.Concat(Enumerable.Repeat("", 5)).Take(5))} |");

    private string Folder() => Directory.CreateDirectory(Path.Combine(data, Guid.NewGuid().ToString("N"))).FullName;

    private static string Memory(GpuProcess process) => $"{process.PeakMemory:N0} MiB";

    private static string Text(double number) => number.ToString(CultureInfo.InvariantCulture);
}
