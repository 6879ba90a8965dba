namespace MLDistributed.Training.Commits;

/// <summary>Decides when training stops for the next commit.</summary>
internal static class CommitInterval
{
    /// <summary>The part of the time that commits may take.</summary>
    public const double Share = 0.02;

    /// <summary>However cheap they are: to train so much again costs less than to start ranks.</summary>
    public static readonly TimeSpan Least = TimeSpan.FromSeconds(0.5);

    /// <summary>The time from the end of a commit to the next.</summary>
    /// <param name="cost">How long training stands still for one.</param>
    public static TimeSpan After(TimeSpan cost) => cost / Share > Least ? cost / Share : Least;
}
