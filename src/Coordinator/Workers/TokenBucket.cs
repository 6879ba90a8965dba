namespace MLDistributed.Coordinator.Workers;

/// <summary>Lets so much through a second, and after a pause a burst of more.</summary>
/// <param name="perSecond">What comes in, in the unit of what is taken.</param>
/// <param name="burst">The most that it holds; it begins full.</param>
internal sealed class TokenBucket(double perSecond, double burst)
{
    private readonly double _burst = burst;
    private double _tokens = burst;
    private TimeSpan _filled;

    /// <summary>Whether there is so much; then it is taken.</summary>
    /// <param name="amount">How much.</param>
    /// <param name="now">By a clock that never goes back.</param>
    public bool TryTake(double amount, TimeSpan now)
    {
        _tokens = Math.Min(_burst, _tokens + (now - _filled).TotalSeconds * perSecond);
        _filled = now;
        if (_tokens < amount)
            return false;
        _tokens -= amount;
        return true;
    }
}
