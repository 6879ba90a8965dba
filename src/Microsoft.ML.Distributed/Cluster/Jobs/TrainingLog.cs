using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>The log of one Fit: one line at a time, though several threads write, and none after its end.</summary>
internal sealed class TrainingLog(Action<LogLine> log) : IDisposable
{
    private readonly Lock _gate = new();
    private bool _isClosed;

    public void Write(LogLine line)
    {
        lock (_gate)
        {
            if (!_isClosed)
                log(line);
        }
    }

    public void Dispose()
    {
        lock (_gate)
            _isClosed = true;
    }
}
