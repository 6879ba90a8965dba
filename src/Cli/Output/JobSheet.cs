using System.Globalization;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Output;

/// <summary>All that is known of a job, a line a fact.</summary>
internal static class JobSheet
{
    private const int NameWidth = 12;

    public static void Write(JobSnapshot job, TextWriter output, DateTimeOffset now, bool isColored = false)
    {
        foreach (var (name, text) in Facts(job, now))
        {
            var shown = VisibleText.Of(text);
            output.WriteLine($"{name.PadRight(NameWidth)}{(isColored && name == "State" ? StateColors.Paint(shown) : shown)}");
        }
    }

    private static IEnumerable<(string Name, string Text)> Facts(JobSnapshot job, DateTimeOffset now)
    {
        yield return ("Job", job.Id);
        yield return ("Name", job.Name);
        yield return ("State", $"{Words.Of(job.State)}: {job.Reason}");
        if (job.Attempt > 1)
            yield return ("Attempt", $"{job.Attempt}");
        if (Words.Time(job.Submitted) is { } submitted)
            yield return ("Submitted", When(submitted, now));
        if (Words.Time(job.Started) is { } started)
            yield return ("Started", When(started, now));
        if (Words.Time(job.Ended) is { } ended)
            yield return ("Ended", $"{When(ended, now)}{(Words.Time(job.Started) is { } begun ? $", {Words.Duration(ended - begun)} after it started" : "")}");
        if (job.Hosts.Count > 0)
            yield return ("Ranks", string.Join(", ", Words.Places(job.Hosts)));
        if (job.KeptStep > 0)
            yield return ("Kept", $"the checkpoint of step {job.KeptStep}: \"mldist jobs resume {job.Id}\" goes on from it");
        foreach (var fact in Asked(job.Spec ?? new JobSpec()))
            yield return fact;
        if (job.Progress is { } progress && job.Result is null)
            yield return ("Progress", Invariant($"epoch {Words.Epoch(progress.Epoch)}, step {progress.Step:N0} of {progress.TotalSteps:N0}, loss {progress.Loss:G4}, {progress.RowsPerSecond:N0} rows/s"));
        foreach (var fact in job.Result is { } result ? Made(result) : [])
            yield return fact;
        foreach (var word in job.Failure?.LastWords ?? [])
            yield return ("", "| " + word);
    }

    private static IEnumerable<(string Name, string Text)> Asked(JobSpec spec)
    {
        if (spec.Module?.Mlp is { } mlp)
            yield return ("Network", $"{string.Join('-', mlp.HiddenSizes.Prepend(mlp.InputSize).Append(mlp.OutputSize))}, {spec.Task.ToString().ToLowerInvariant()}");
        if (spec.Module?.Torch is { } own)
            yield return ("Network", $"{own.Type}, {own.InputSize} to {own.OutputSize}, {spec.Task.ToString().ToLowerInvariant()}");
        if (spec.Module?.Text is { } text)
            yield return ("Network", $"text, {Words.Count(text.Layers, "layer")} of width {text.Width}, {text.InputSize} tokens to {text.OutputSize}, {spec.Task.ToString().ToLowerInvariant()}");
        if (spec.Module?.Image is { } image)
            yield return ("Network", $"{image.Architecture}, images of {image.Channels} x {image.Height} x {image.Width} to {image.OutputSize}, {spec.Task.ToString().ToLowerInvariant()}");
        if (spec.Data is { } data)
            yield return ("Data", $"{Words.Count(data.RowCount, "row")} of dataset {data.DatasetId}");
        if (spec.StartFrom is { } start)
            yield return ("Starts from", $"model {start.ModelId}");
        if (spec.StartingWeights is { } weights)
            yield return ("Starts from", $"weights {weights.FileId}");
        yield return ("Training", Invariant($"{Words.Count(spec.Epochs, "epoch")}, {spec.GlobalBatchSize:N0} rows a step, seed {spec.Seed}"));
    }

    private static IEnumerable<(string Name, string Text)> Made(JobResult result)
    {
        var validation = result.HasValidationLoss ? Invariant($", validation {result.ValidationLoss:G4} (best: epoch {Words.Epoch(result.BestEpoch)})") : "";
        yield return ("Trained", Invariant($"{Words.Count(result.Epochs, "epoch")}, {Words.Count(result.Steps, "step")} in {Words.Duration(result.TrainingSeconds)} on {Words.Count(result.WorldSize, "rank")}"));
        yield return ("Loss", Invariant($"{result.TrainingLoss:G4}{validation}"));
        var best = result.History.FirstOrDefault(e => e.Epoch == result.BestEpoch) ?? new EpochEnded();
        foreach (var (rows, metrics) in new[] { ("Training rows", MetricNames.OfTraining(best)), ("Validation rows", MetricNames.OfValidation(best)) })
            if (metrics.Count > 0)
                yield return (rows, string.Join(", ", metrics.Select(m => Invariant($"{m.Key} {m.Value:G4}"))));
        foreach (var (name, artifact) in result.Artifacts.OrderBy(a => a.Key, StringComparer.Ordinal))
            yield return ("File", $"{name}, {Words.Bytes(artifact.SizeBytes)}");
    }

    private static string When(DateTimeOffset time, DateTimeOffset now) => $"{Words.Of(time, now)} ({Words.Duration(now - time)} ago)";

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
