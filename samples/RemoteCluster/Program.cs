using System.Diagnostics;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;

using var cancellation = new CancellationTokenSource();
Console.CancelKeyPress += (_, e) =>
{
    e.Cancel = true;
    cancellation.Cancel();
};
var folder = Directory.CreateTempSubdirectory("remote-cluster-").FullName;
try
{
    // 1. A coordinator, as it would run on a server: https, with a certificate that it makes itself. Its first start
    //    prints what clients need (three variables) and what a machine that trains needs (a variable and a command).
    using var coordinator = Mldist.Start("coordinator", "--data", Path.Combine(folder, "data"), "--urls", "https://127.0.0.1:0");
    var printed = await coordinator.ReadThroughAsync("mldist worker ", cancellation.Token);
    string Variable(string name) => printed.First(line => line.StartsWith($"export {name}=", StringComparison.Ordinal)).Split('=', 2)[1];
    var address = new Uri(Variable("MLDIST_COORDINATOR"));
    Console.WriteLine($"The coordinator listens at {address}; its certificate is {Variable("MLDIST_FINGERPRINT")[..12]}...");

    // 2. A worker, as it would run on each machine that trains: the printed command, and the one-time token.
    var join = printed[^1].Split(' ')[1..];
    Environment.SetEnvironmentVariable("MLDIST_JOIN_TOKEN", Variable("MLDIST_JOIN_TOKEN"));
    using var worker = Mldist.Start([.. join, "--work", Path.Combine(folder, "worker"), "--slots", "2", "--device", "cpu"]);

    // 3. The app: the address, a key and the fingerprint are all that it knows of the cluster.
    using var cluster = TrainingCluster.Connect(address, new TrainingClusterOptions
    {
        ApiKey = Variable("MLDIST_API_KEY"),
        CertificateFingerprint = Variable("MLDIST_FINGERPRINT"),
    });
    var ml = new MLContext(seed: 1);
    ml.UseCluster(cluster);
    await ShowWorkersAsync(cluster, cancellation.Token);

    // 4. Train there: the rows go over, the model comes back.
    var data = ml.Data.LoadFromTextFile<Digit>(Path.Combine(AppContext.BaseDirectory, "digits.csv"), separatorChar: ',');
    var split = ml.Data.TrainTestSplit(data, testFraction: 0.2);
    var model = ml.Transforms.Conversion.MapValueToKey("Label", nameof(Digit.Number))
        .Append(ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
        {
            FeatureColumnName = nameof(Digit.Pixels),
            Progress = new ConsoleProgress(),
            CancellationToken = cancellation.Token,
        }))
        .Fit(split.TrainSet);
    var metrics = ml.MulticlassClassification.Evaluate(model.Transform(split.TestSet));
    Console.WriteLine($"Trained as job {model.LastTransformer.Model.JobId}: micro accuracy {metrics.MicroAccuracy:F4} on the held-out fifth.");
    return 0;
}
catch (OperationCanceledException)
{
    Console.WriteLine("Cancelled.");
    return 130;
}
finally
{
    // 5. Both are stopped by now: the worker first, then the coordinator.
    Directory.Delete(folder, recursive: true);
}

static async Task ShowWorkersAsync(TrainingCluster cluster, CancellationToken cancellation)
{
    ClusterStatus status;
    using var interval = new PeriodicTimer(TimeSpan.FromMilliseconds(200));
    do
        status = await cluster.GetStatusAsync(cancellation);
    while (!status.Workers.Any(w => w.Status == "ready") && await interval.WaitForNextTickAsync(cancellation));
    foreach (var worker in status.Workers)
        Console.WriteLine($"Worker {worker.Host} is {worker.Status} with {worker.Devices.Count} devices; coordinator {status.Version}.");
}

/// <summary>A process of mldist that leaves when this object is disposed, or when this program ends, however it does.</summary>
internal sealed class Mldist : IDisposable
{
    private static readonly TimeSpan LeaveWithin = TimeSpan.FromSeconds(10);
    private readonly Process _process;

    private Mldist(Process process) => _process = process;

    public static Mldist Start(params string[] arguments)
    {
        // eng/LocalRuntime.targets notes where the build put mldist; elsewhere it is on the PATH.
        var program = Path.Combine(AppContext.GetData("MLDistributed.Runtime") as string ?? "", "mldist");
        return new Mldist(Process.Start(new ProcessStartInfo(program, [.. arguments, "--lifeline"]) // it leaves when its standard input ends
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        })!);
    }

    /// <summary>The lines it prints, through the first that begins so.</summary>
    public async Task<IReadOnlyList<string>> ReadThroughAsync(string start, CancellationToken cancellation)
    {
        var lines = new List<string>();
        while (lines.Count == 0 || !lines[^1].StartsWith(start, StringComparison.Ordinal))
            lines.Add((await _process.StandardOutput.ReadLineAsync(cancellation))?.Trim() ?? throw new IOException("mldist ended early; it has said why."));
        return lines;
    }

    public void Dispose()
    {
        _process.StandardInput.Close();
        if (!_process.WaitForExit(LeaveWithin))
            _process.Kill();
        _process.Dispose();
    }
}

/// <summary>A row of digits.csv: 8x8 pixels from 0 to 16, then the digit.</summary>
internal sealed class Digit
{
    [LoadColumn(0, 63), VectorType(64)]
    public float[] Pixels { get; set; } = [];

    [LoadColumn(64)]
    public float Number { get; set; }
}
