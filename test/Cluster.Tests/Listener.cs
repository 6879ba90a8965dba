using Microsoft.ML.Distributed;

namespace Cluster.Tests;

/// <summary>Hears progress on the thread that reports it, and so in order.</summary>
internal sealed class Listener(Action<TrainingProgress> hear) : IProgress<TrainingProgress>
{
    public void Report(TrainingProgress value) => hear(value);
}
