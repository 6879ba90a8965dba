using Apache.Arrow;
using Apache.Arrow.Ipc;
using Google.Protobuf;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>
/// A cluster without processes. It trains a linear model: each class's mean as a prototype, or ridge regression
/// by gradient descent on the encoded, standardised file.
/// </summary>
internal sealed class FakeBackend : ITrainingBackend, IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("mldist-test-").FullName;

    public List<JobSpec> Jobs { get; } = [];

    public List<EncodedDataset?> Validations { get; } = [];

    public List<IReadOnlyList<JobFile>> JobFiles { get; } = [];

    public Action<Action<LogLine>, CancellationToken>? OnTrain { get; set; }

    /// <summary>The weights of the network that was asked for, instead of a linear one that is trained.</summary>
    public Func<MlpSpec, Dictionary<string, float[]>>? Weights { get; set; }

    /// <summary>The model of a module that is not the built-in one.</summary>
    public Func<JobSpec, ModelProto>? Own { get; set; }

    /// <summary>What the worker sends instead of the model.</summary>
    public Func<byte[], byte[]> Forge { get; set; } = onnx => onnx;

    public IReadOnlyList<string> Files => Directory.GetFiles(_folder);

    public int DatasetFiles { get; private set; }

    /// <summary>The folders that were asked for.</summary>
    public List<string?> Folders { get; } = [];

    public string NewDatasetFile(string? folder = null, CancellationToken cancellation = default)
    {
        Folders.Add(folder);
        return Path.Combine(_folder, $"{DatasetFiles++}.arrow");
    }

    public TrainedJob Train(JobSpec spec, JobInputs inputs, IProgress<TrainingProgress>? progress, Action<LogLine> log, CancellationToken cancellation)
    {
        Jobs.Add(spec.Clone());
        Validations.Add(inputs.Validation);
        JobFiles.Add(inputs.Files);
        var errors = JobSpecRules.Validate(spec);
        Assert.IsEmpty(errors, string.Join("; ", errors));
        OnTrain?.Invoke(log, cancellation);
        progress?.Report(new TrainingProgress { JobId = "job-1", State = TrainingState.Running });
        if (Weights is null && Own is null)
            spec.Module.Mlp.HiddenSizes.Clear(); // linear, whatever was asked for: the model that comes back is one of this job
        var onnx = (Own?.Invoke(spec) ?? OnnxMlpWriter.Write(spec, Weights?.Invoke(spec.Module.Mlp) ?? Fit(spec, inputs.Training))).ToByteArray();
        return new TrainedJob("job-1", Forge(onnx), new JobResult { Epochs = spec.Epochs, WorldSize = 2, Steps = 10, TrainingLoss = 0.25, TrainingSeconds = 1.5, History = { new EpochEnded { Epoch = 0, TrainingLoss = 0.5 } } });
    }

    public string Submit(JobSpec spec, JobInputs inputs, IProgress<TrainingProgress>? progress, Action<LogLine> log, CancellationToken cancellation)
    {
        Jobs.Add(spec.Clone());
        return "job-1";
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    public static List<(float[] Features, float Label, float Weight)> Read(string path)
    {
        using var reader = new ArrowFileReader(File.OpenRead(path));
        var rows = new List<(float[], float, float)>();
        while (reader.ReadNextRecordBatch() is { } batch)
        {
            var shape = DatasetSchema.Read(batch.Schema);
            var items = ((FixedSizeListArray)batch.Column(0)).Values;
            ReadOnlySpan<float> values = items is UInt8Array bytes ? System.Array.ConvertAll(bytes.Values.ToArray(), b => (float)b) : ((FloatArray)items).Values;
            for (var i = 0; i < batch.Length; i++)
                rows.Add((values.Slice(i * shape.FeatureSize, shape.FeatureSize).ToArray(), ((FloatArray)batch.Column(1)).Values[i], shape.HasWeights ? ((FloatArray)batch.Column(2)).Values[i] : 1));
        }

        return rows;
    }

    private static Dictionary<string, float[]> Fit(JobSpec spec, EncodedDataset training)
    {
        var (inputs, outputs) = (spec.Module.Mlp.InputSize, spec.Module.Mlp.OutputSize);
        var rows = Read(training.Path).Select(r => (X: Scale(r.Features, spec.Data.Features), r.Label)).ToList();
        var (weight, bias) = (new float[outputs * inputs], new float[outputs]);
        for (var epoch = 0; epoch < 100; epoch++)
        {
            var (dWeight, dBias) = (new double[weight.Length], new double[outputs]);
            foreach (var (x, label) in rows)
            {
                var logits = bias.Select((b, o) => b + x.Select((v, i) => (double)v * weight[(o * inputs) + i]).Sum()).ToArray();
                var error = Error(spec, logits, label);
                for (var o = 0; o < outputs; o++)
                {
                    dBias[o] += error[o];
                    for (var i = 0; i < inputs; i++)
                        dWeight[(o * inputs) + i] += error[o] * x[i];
                }
            }

            var rate = 0.5 / rows.Count;
            for (var i = 0; i < weight.Length; i++)
                weight[i] -= (float)(rate * dWeight[i]);
            for (var o = 0; o < outputs; o++)
                bias[o] -= (float)(rate * dBias[o]);
        }

        // It diverges on features of any size; a rank would fail the job rather than return that.
        return new() { ["layers.0.weight"] = Finite(weight), ["layers.0.bias"] = Finite(bias) };

        static float[] Finite(float[] values) => [.. values.Select(v => float.IsFinite(v) ? v : 0)];
    }

    private static double[] Error(JobSpec spec, double[] logits, float label)
    {
        if (spec.Task == MlTask.Regression)
            return [logits[0] - ((label - spec.Data.Label.Mean) * spec.Data.Label.Scale)];
        if (spec.Task == MlTask.Binary)
            return [(1 / (1 + Math.Exp(-logits[0]))) - label];
        var sum = logits.Sum(Math.Exp);
        return [.. logits.Select((l, k) => (Math.Exp(l) / sum) - (k == (int)label ? 1 : 0))];
    }

    private static float[] Scale(float[] x, FeatureScaling? scaling) =>
        [.. x.Select((v, i) => float.IsNaN(v) ? 0 : scaling is null ? v : (v - scaling.Mean[i]) * scaling.Scale[i])];
}
