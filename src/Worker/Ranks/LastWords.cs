namespace MLDistributed.Worker.Ranks;

/// <summary>The last lines that a process wrote; and the first ones from where C++ says why it ends, as what follows can be long.</summary>
internal sealed class LastWords
{
    private const int MaxLines = 20;
    private const int MaxReasonLines = 10;
    private const int MaxLineLength = 2000;
    private const string Reason = "terminate called";

    private readonly Queue<string> _lines = new();
    private readonly List<string> _reason = [];
    private int _sinceReason;

    public void Add(string line)
    {
        lock (_lines)
        {
            line = line.Length <= MaxLineLength ? line : line[..MaxLineLength];
            var begins = line.StartsWith(Reason, StringComparison.Ordinal);
            if (begins)
            {
                _reason.Clear();
                _sinceReason = 0;
            }

            if (begins || _reason.Count is > 0 and < MaxReasonLines)
                _reason.Add(line);
            if (_reason.Count > 0)
                _sinceReason++;
            if (_lines.Count == MaxLines)
                _lines.Dequeue();
            _lines.Enqueue(line);
        }
    }

    public IReadOnlyList<string> ToList()
    {
        lock (_lines)
            return [.. _reason.Take(_sinceReason - _lines.Count), .. _lines];
    }
}
