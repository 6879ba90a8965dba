using Google.Protobuf;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>What a job's result may say. It comes from a worker, or a file, and is shown as what the training was.</summary>
internal static class JobResultRules
{
    // A result with more lines than its epochs would be no result; old jobs had no limit of their own.
    private const uint HistoryTag = (JobResult.HistoryFieldNumber << 3) | (uint)WireFormat.WireType.LengthDelimited;

    /// <summary>Parses the result that a model file keeps: an empty line of history takes 2 bytes there and 60 in memory, so they are counted first.</summary>
    /// <exception cref="FormatException">It does not fit the job.</exception>
    public static JobResult Parse(byte[] bytes, JobSpec spec)
    {
        using var input = new CodedInputStream(bytes);
        var lines = 0;
        for (uint tag; (tag = input.ReadTag()) != 0; input.SkipLastField())
        {
            if (tag == HistoryTag && ++lines > Math.Min(spec.Epochs, JobSpecRules.MaxEpochs))
                throw new FormatException($"its history has more than the {spec.Epochs:N0} epochs of its job");
        }

        return JobResult.Parser.WithDiscardUnknownFields(true).ParseFrom(bytes);
    }

    /// <summary>What is wrong with a worker's result, in a sentence; null: nothing.</summary>
    public static string? Refusal(JobResult result, JobSpec spec)
    {
        var epochs = result.History.Select(e => e.Epoch).ToList();
        return result switch
        {
            _ when result.Epochs < 1 || result.Epochs > spec.Epochs => $"it tells of {result.Epochs:N0} epochs, expected 1 to {spec.Epochs:N0}",
            _ when result.BestEpoch < 0 || result.BestEpoch >= result.Epochs => $"its best epoch is {result.BestEpoch + 1L:N0}, expected one of {result.Epochs:N0}",
            _ when epochs.Count > spec.Epochs || epochs.Exists(e => e < 0 || e >= spec.Epochs) => $"its history has {epochs.Count:N0} lines, expected one for each of its {result.Epochs:N0} epochs",
            _ when result.Steps < 1 => $"it tells of {result.Steps:N0} steps, expected at least 1",
            _ when result.WorldSize is < 1 or > JobSpecRules.MaxRanks => $"it tells of {result.WorldSize:N0} ranks, expected 1 to {JobSpecRules.MaxRanks:N0}",
            _ when !double.IsFinite(result.TrainingLoss) => $"its loss is {result.TrainingLoss}, expected a finite number",
            _ when !(result.TrainingSeconds >= 0 && double.IsFinite(result.TrainingSeconds)) => $"it took {result.TrainingSeconds} s, expected a finite time",
            _ => null,
        };
    }
}
