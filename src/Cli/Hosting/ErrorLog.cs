using VisibleText = MLDistributed.Protocol.VisibleText;

namespace MLDistributed.Cli.Hosting;

/// <summary>Log lines on standard error, information and above: all that a service started by hand needs.</summary>
internal sealed class ErrorLog : ILoggerFactory, ILogger
{
    public void AddProvider(ILoggerProvider provider)
    {
        // There is one place to write to.
    }

    public ILogger CreateLogger(string categoryName) => this;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Information;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (!IsEnabled(logLevel))
            return;
        var level = logLevel switch { LogLevel.Information => "info", LogLevel.Warning => "warn", _ => "fail" };
        var message = VisibleText.Of($"{formatter(state, exception)}{(exception is null ? "" : $" {exception.Message}")}");
        try
        {
            Console.Error.WriteLine($"{TimeProvider.System.GetLocalNow():HH:mm:ss} {level} {message}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Closed, or on a full disk: what it tells of goes on.
        }
    }

    public void Dispose()
    {
        // Standard error is not ours.
    }
}
