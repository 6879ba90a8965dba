using System.Globalization;
using Google.Protobuf;
using MLDistributed.Protocol;

namespace MLDistributed.Training.Checkpoints;

/// <summary>How far a job has come: what a resumed run needs beside tensors. The same on all ranks.</summary>
internal sealed class TrainingPosition
{
    private const string RecentKey = "recent";

    /// <summary>Epochs that are done.</summary>
    public int Epoch { get; set; }

    /// <summary>Steps that are done.</summary>
    public long Step { get; set; }

    /// <summary>The epoch with the least cost on the validation rows, or the last.</summary>
    public int BestEpoch { get; set; }

    /// <summary>The least cost on the validation rows: the loss, in ranking 1 less NDCG@10. Infinite before the first.</summary>
    public double BestCost { get; set; } = double.PositiveInfinity;

    /// <summary>The cost that the next must be less than, by the asked amount, for patience to last.</summary>
    public double PatienceCost { get; set; } = double.PositiveInfinity;

    /// <summary>Epochs since <see cref="PatienceCost"/>.</summary>
    public int EpochsWithoutImprovement { get; set; }

    /// <summary>Seconds of training in earlier attempts and this one.</summary>
    public double Seconds { get; set; }

    /// <summary>Of the epoch that is not done: the loss so far, weighted.</summary>
    public double LossSum { get; set; }

    /// <summary>Of the epoch that is not done: the weight of its rows so far.</summary>
    public double WeightSum { get; set; }

    /// <summary>Of the epoch that is not done: the seconds of earlier attempts.</summary>
    public double EpochSeconds { get; set; }

    /// <summary>All epochs so far.</summary>
    public List<EpochEnded> History { get; } = [];

    /// <summary>The losses of the last steps, where ranks are on several hosts: with the one that has rank 0 those are lost that it has not passed on yet.</summary>
    public Queue<StepLoss> Recent { get; } = [];

    public IReadOnlyDictionary<string, string> ToMetadata() => new Dictionary<string, string>
    {
        ["format"] = CheckpointLayout.Format,
        ["epoch"] = Text(Epoch),
        ["step"] = Text(Step),
        ["best_epoch"] = Text(BestEpoch),
        ["best_loss"] = Text(BestCost),
        ["patience_loss"] = Text(PatienceCost),
        ["epochs_without_improvement"] = Text(EpochsWithoutImprovement),
        ["seconds"] = Text(Seconds),
        ["loss_sum"] = Text(LossSum),
        ["weight_sum"] = Text(WeightSum),
        ["epoch_seconds"] = Text(EpochSeconds),
        ["history"] = Convert.ToBase64String(new JobResult { History = { History } }.ToByteArray()),
    };

    /// <summary>The same, and the losses of the last steps, in one text.</summary>
    public string ToText() => string.Join('\n', ToMetadata().Append(new(RecentKey, Convert.ToBase64String(new Progress { Recent = { Recent } }.ToByteArray()))).Select(m => $"{m.Key}={m.Value}"));

    public static TrainingPosition Parse(string text) => Parse(text.Split('\n').Select(l => l.Split('=', 2)).ToDictionary(p => p[0], p => p[1]));

    public static TrainingPosition Parse(IReadOnlyDictionary<string, string> metadata)
    {
        var position = new TrainingPosition
        {
            Epoch = (int)Number("epoch"),
            Step = (long)Number("step"),
            BestEpoch = (int)Number("best_epoch"),
            BestCost = Number("best_loss"),
            PatienceCost = Number("patience_loss"),
            EpochsWithoutImprovement = (int)Number("epochs_without_improvement"),
            Seconds = Number("seconds"),
            LossSum = Number("loss_sum"),
            WeightSum = Number("weight_sum"),
            EpochSeconds = Number("epoch_seconds"),
        };
        position.History.AddRange(JobResult.Parser.ParseFrom(Convert.FromBase64String(metadata["history"])).History);
        foreach (var loss in Progress.Parser.ParseFrom(Convert.FromBase64String(metadata.GetValueOrDefault(RecentKey, ""))).Recent)
            position.Recent.Enqueue(loss);
        return position;

        double Number(string name) => double.Parse(metadata[name], NumberStyles.Float, CultureInfo.InvariantCulture);
    }

    private static string Text(double value) => value.ToString("R", CultureInfo.InvariantCulture);
}
