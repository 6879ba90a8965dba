using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging.Console;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Hosting;

/// <summary>A log entry is one line, and what names from elsewhere hide or would have the terminal do is visible in it.</summary>
internal sealed class LineFormatter(TimeProvider time) : ConsoleFormatter(FormatName)
{
    public const string FormatName = "line";

    public override void Write<TState>(in LogEntry<TState> logEntry, IExternalScopeProvider? scopeProvider, TextWriter textWriter)
    {
        var level = logEntry.LogLevel switch { LogLevel.Information => "info", LogLevel.Warning => "warn", LogLevel.Error => "fail", LogLevel.Critical => "crit", _ => "dbug" };
        var text = logEntry.Formatter(logEntry.State, logEntry.Exception);
        if (logEntry.Exception is { } exception)
            text += $" {exception.ToString().ReplaceLineEndings(" ")}";
        textWriter.WriteLine($"{time.GetLocalNow():HH:mm:ss} {level}: {logEntry.Category}[{logEntry.EventId.Id}] {VisibleText.Of(text)}");
    }
}
