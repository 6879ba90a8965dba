using MLDistributed.Cli.Output;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Watching;

/// <summary>A job's events as lines of text, or of JSON.</summary>
internal static class EventLines
{
    private const string Margin = "         | ";

    /// <summary>The event with its time; further lines of what a rank said hang below. Empty for progress.</summary>
    /// <param name="item">The event.</param>
    /// <param name="now">Decides whether the time needs its date.</param>
    public static IEnumerable<string> Of(JobEvent item, DateTimeOffset now)
    {
        var said = Describe(item);
        return said.Count == 0 ? [] : said.Skip(1).Select(more => Margin + more).Prepend($"{(Words.Time(item.Time) is { } time ? Words.Of(time, now) : "        ")} {said[0]}");
    }

    /// <summary>Writes each event as a line of JSON; gives the job's last state.</summary>
    public static async Task<JobState> WriteJsonAsync(IAsyncEnumerable<JobEvent> events)
    {
        var state = JobState.Unspecified;
        await foreach (var item in events.ConfigureAwait(false))
        {
            state = item.State?.State ?? state;
            await Console.Out.WriteLineAsync(Json.Line(EventView.Of(item))).ConfigureAwait(false);
        }

        return state;
    }

    private static IReadOnlyList<string> Describe(JobEvent item) => item.EventCase switch
    {
        JobEvent.EventOneofCase.State when item.State.Failure is { } failure =>
            [.. VisibleText.Lines($"{Words.Of(item.State.State)}: {failure.Message}"), .. failure.LastWords.Select(VisibleText.Of)],
        JobEvent.EventOneofCase.State => VisibleText.Lines($"{Words.Of(item.State.State)}: {item.State.Reason}"),
        JobEvent.EventOneofCase.Epoch => [Describe(item.Epoch)],
        JobEvent.EventOneofCase.Log => VisibleText.Lines($"{item.Log.Source}: {item.Log.Message}"),
        _ => [],
    };

    private static string Describe(EpochEnded epoch)
    {
        var validation = epoch.HasValidationLoss ? $", validation {epoch.ValidationLoss:G4}{(epoch.IsBest ? " (best)" : "")}" : "";
        // As the app's own log: those of validation, where there is one.
        var metrics = epoch.HasValidationLoss ? MetricNames.OfValidation(epoch) : MetricNames.OfTraining(epoch);
        return $"epoch {Words.Epoch(epoch.Epoch)}: loss {epoch.TrainingLoss:G4}{validation}{string.Concat(metrics.Select(m => $", {m.Key} {m.Value:G4}"))}, {epoch.Seconds:F1} s";
    }
}
