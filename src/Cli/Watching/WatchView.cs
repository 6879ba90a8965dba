using MLDistributed.Cli.Commands;
using MLDistributed.Protocol;
using Spectre.Console;
using Progress = MLDistributed.Protocol.Progress;

namespace MLDistributed.Cli.Watching;

/// <summary>A job's events on the console: lines, and below them a bar where there is a terminal.</summary>
internal static class WatchView
{
    /// <summary>Shows all events; gives the job's last state.</summary>
    public static async Task<JobState> ShowAsync(IAsyncEnumerable<JobEvent> events)
    {
        if (!AnsiConsole.Profile.Capabilities.Interactive || Console.IsOutputRedirected)
            return await ShowAsync(events, _ => { }).ConfigureAwait(false);
        return await AnsiConsole.Progress()
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
            .AutoClear(true)
            .StartAsync(context =>
            {
                var bar = context.AddTask("waiting", autoStart: false);
                return ShowAsync(events, progress => Update(bar, progress));
            })
            .ConfigureAwait(false);
    }

    private static async Task<JobState> ShowAsync(IAsyncEnumerable<JobEvent> events, Action<Progress> onProgress)
    {
        var state = JobState.Unspecified;
        await foreach (var item in events.ConfigureAwait(false))
        {
            state = item.State?.State ?? state;
            if (item.Progress is { } progress)
                onProgress(progress);
            else
                AnsiConsole.WriteLine($"{item.Time.ToDateTimeOffset().ToLocalTime():HH:mm:ss} {Describe(item)}");
        }

        return state;
    }

    private static string Describe(JobEvent item) => item.EventCase switch
    {
        JobEvent.EventOneofCase.State when item.State.Failure is { } failure => $"{Words.Of(item.State.State)}: {failure.Message}{string.Concat(failure.LastWords.Select(w => $"{Environment.NewLine}         | {w}"))}",
        JobEvent.EventOneofCase.State => $"{Words.Of(item.State.State)}: {item.State.Reason}",
        JobEvent.EventOneofCase.Epoch when item.Epoch.HasValidationLoss => $"epoch {item.Epoch.Epoch + 1}: loss {item.Epoch.TrainingLoss:G4}, validation {item.Epoch.ValidationLoss:G4}{(item.Epoch.IsBest ? " (best)" : "")}, {item.Epoch.Seconds:F1} s",
        JobEvent.EventOneofCase.Epoch => $"epoch {item.Epoch.Epoch + 1}: loss {item.Epoch.TrainingLoss:G4}, {item.Epoch.Seconds:F1} s",
        JobEvent.EventOneofCase.Log => $"{item.Log.Source}: {item.Log.Message}",
        _ => "",
    };

    private static void Update(ProgressTask bar, Progress progress)
    {
        if (!bar.IsStarted)
            bar.StartTask();
        bar.MaxValue = Math.Max(1, progress.TotalSteps);
        bar.Value = progress.Step;
        bar.Description = Markup.Escape($"epoch {progress.Epoch + 1}, loss {progress.Loss:G4}, {progress.RowsPerSecond:N0} rows/s");
    }
}
