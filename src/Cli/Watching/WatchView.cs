using MLDistributed.Cli.Output;
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
        if (Console.IsOutputRedirected)
            return await WriteLinesAsync(events).ConfigureAwait(false);
        return await Terminal.DrawAsync(() => DrawAsync(events)).ConfigureAwait(false);
    }

    /// <summary>Writes all events but progress as lines; gives the job's last state.</summary>
    public static Task<JobState> WriteLinesAsync(IAsyncEnumerable<JobEvent> events) => ShowAsync(events, Console.WriteLine, _ => { });

    private static async Task<JobState> DrawAsync(IAsyncEnumerable<JobEvent> events)
    {
        if (!AnsiConsole.Profile.Capabilities.Interactive)
            return await WriteLinesAsync(events).ConfigureAwait(false);
        return await AnsiConsole.Progress()
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
            .AutoClear(true)
            .StartAsync(context =>
            {
                var bar = context.AddTask("waiting", autoStart: false);
                return ShowAsync(events, AnsiConsole.WriteLine, progress => Update(bar, progress));
            })
            .ConfigureAwait(false);
    }

    private static async Task<JobState> ShowAsync(IAsyncEnumerable<JobEvent> events, Action<string> write, Action<Progress> onProgress)
    {
        var state = JobState.Unspecified;
        await foreach (var item in events.ConfigureAwait(false))
        {
            state = item.State?.State ?? state;
            if (item.Progress is { } progress)
                onProgress(progress);
            foreach (var line in EventLines.Of(item, TimeProvider.System.GetUtcNow()))
                write(line);
        }

        return state;
    }

    private static void Update(ProgressTask bar, Progress progress)
    {
        if (!bar.IsStarted)
            bar.StartTask();
        bar.MaxValue = Math.Max(1, progress.TotalSteps);
        bar.Value = progress.Step;
        bar.Description = Markup.Escape($"epoch {Words.Epoch(progress.Epoch)}, loss {progress.Loss:G4}, {progress.RowsPerSecond:N0} rows/s");
    }
}
