namespace MLDistributed.Worker.Ranks;

/// <summary>The last lines that a process wrote.</summary>
internal sealed class LastWords
{
    private const int MaxLines = 20;
    private const int MaxLineLength = 2000;
    private readonly Queue<string> _lines = new();

    public void Add(string line)
    {
        lock (_lines)
        {
            if (_lines.Count == MaxLines)
                _lines.Dequeue();
            _lines.Enqueue(line.Length <= MaxLineLength ? line : line[..MaxLineLength]);
        }
    }

    public IReadOnlyList<string> ToList()
    {
        lock (_lines)
            return [.. _lines];
    }
}
