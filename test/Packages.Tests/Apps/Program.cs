using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;

var ml = new MLContext(seed: 1);
var data = ml.Data.LoadFromEnumerable(Enumerable.Range(0, 400).Select(i => new Row { Label = i % 3 == 0, Features = [i % 3, i % 5, i % 7] }));
var pipeline = ml.Transforms.NormalizeMinMax("Features").Append(ml.BinaryClassification.Trainers.DistributedNeuralNetwork());
var model = pipeline.Fit(data);
Console.WriteLine($"accuracy {ml.BinaryClassification.Evaluate(model.Transform(data)).Accuracy:0.00}");

// For the test: what this process maps, and what runs mldist.
Console.WriteLine($"maps libtorch: {File.ReadAllText("/proc/self/maps").Contains("libtorch")}");
foreach (var process in Directory.GetDirectories("/proc").Where(p => char.IsDigit(Path.GetFileName(p)[0])))
    try
    {
        if (File.ReadAllText($"{process}/cmdline").Split('\0') is { } arguments && arguments.Any(a => a == "coordinator") && File.ReadAllText($"{process}/environ").Contains("TMPDIR=" + Environment.GetEnvironmentVariable("TMPDIR")))
            Console.WriteLine($"runtime: {arguments[0]} {arguments[1]}");
    }
    catch (Exception e) when (e is IOException or UnauthorizedAccessException)
    {
        // Somebody else's.
    }

internal sealed class Row
{
    public bool Label { get; set; }

    [VectorType(3)]
    public float[] Features { get; set; } = [];
}
