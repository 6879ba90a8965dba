using System.Diagnostics;
using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Protocol;

namespace MLDistributed.Bench;

/// <summary>The dataset encoder alone: rows from memory to an Arrow file, with hash and statistics.</summary>
internal static class EncodeThroughput
{
    private const int FeatureCount = 64;

    public static int Run(string[] sizes)
    {
        Console.WriteLine($"| {FeatureCount} features, MB | rows | rows/s | MB/s | peak managed heap, MB |\n| --- | --- | --- | --- | --- |");
        foreach (var size in sizes.Length == 0 ? ["100", "2048"] : sizes)
        {
            var rows = long.Parse(size, CultureInfo.InvariantCulture) * (1 << 20) / ((FeatureCount + 1) * sizeof(float));
            var ml = new MLContext(1);
            var backend = new EncodeOnly();
            ml.UseCluster(backend);
            var data = ml.Data.LoadFromEnumerable(Rows(rows, backend));
            try
            {
                ml.Regression.Trainers.DistributedNeuralNetwork().Fit(data);
            }
            catch (OperationCanceledException)
            {
                // The encoded file is all that was wanted.
            }

            var seconds = backend.Elapsed.TotalSeconds;
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"| {size} | {rows:N0} | {rows / seconds:N0} | {backend.Bytes / seconds / (1 << 20):N0} | {backend.PeakHeap >> 20} |"));
        }

        return 0;
    }

    private static IEnumerable<Row> Rows(long count, EncodeOnly watch)
    {
        var random = new Random(1);
        var row = new Row { Features = new float[FeatureCount] };
        for (var i = 0L; i < count; i++)
        {
            row.Features[i % FeatureCount] = random.NextSingle();
            row.Label = row.Features[0];
            if (i % 8192 == 0)
                watch.PeakHeap = Math.Max(watch.PeakHeap, GC.GetTotalMemory(forceFullCollection: false));
            yield return row;
        }
    }

    /// <summary>Takes the encoded file and trains nothing.</summary>
    private sealed class EncodeOnly : ITrainingBackend
    {
        private long _started;

        public TimeSpan Elapsed { get; private set; }

        public long Bytes { get; private set; }

        public long PeakHeap { get; set; }

        public string NewDatasetFile(string? folder = null, CancellationToken cancellation = default)
        {
            _started = Stopwatch.GetTimestamp();
            return Path.Combine(Path.GetTempPath(), Path.GetRandomFileName());
        }

        public TrainedJob Train(JobSpec spec, JobInputs inputs, IProgress<TrainingProgress>? progress, Action<LogLine> log, CancellationToken cancellation)
        {
            Elapsed = Stopwatch.GetElapsedTime(_started);
            Bytes = new FileInfo(inputs.Training.Path).Length;
            File.Delete(inputs.Training.Path);
            throw new OperationCanceledException();
        }

        public string Submit(JobSpec spec, JobInputs inputs, IProgress<TrainingProgress>? progress, Action<LogLine> log, CancellationToken cancellation) => throw new NotSupportedException();
    }

    private sealed class Row
    {
        public float Label { get; set; }

        [VectorType(FeatureCount)]
        public float[] Features { get; set; } = [];
    }
}
