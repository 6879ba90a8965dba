using System.Globalization;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Jobs;

/// <summary>A job's checkpoint in the store.</summary>
internal sealed record StoredCheckpoint(ContentHash Id, long SizeBytes, long Step)
{
    /// <summary>As a worker is told of it.</summary>
    public Artifact ToArtifact() => new() { Id = Id.Text, SizeBytes = SizeBytes };

    /// <summary>The lists are short and read as a whole: a column holds one, "step:bytes:id step:bytes:id".</summary>
    public static string ToText(IEnumerable<StoredCheckpoint> checkpoints) =>
        string.Join(' ', checkpoints.Select(c => string.Create(CultureInfo.InvariantCulture, $"{c.Step}:{c.SizeBytes}:{c.Id}")));

    /// <exception cref="FormatException">It is no such list.</exception>
    public static IReadOnlyList<StoredCheckpoint> Parse(string text) => [.. text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(One)];

    /// <summary>Where an attempt with these begins, in words.</summary>
    /// <param name="checkpoints">The job's, newest first.</param>
    /// <param name="inMemory">The step that a worker has in memory, which is gone on from unless a checkpoint is newer; 0: none.</param>
    public static string Origin(IEnumerable<StoredCheckpoint> checkpoints, long inMemory) =>
        (checkpoints.FirstOrDefault()?.Step ?? 0) is var stored && inMemory > 0 && inMemory >= stored ? $"from step {inMemory}, which a worker has in memory"
        : stored > 0 ? $"from the checkpoint of step {stored}" : "from the beginning";

    private static StoredCheckpoint One(string text) => text.Split(':') is [var step, var bytes, var id]
        ? new StoredCheckpoint(ContentHash.Parse(id), Number(bytes), Number(step))
        : throw new FormatException($"A checkpoint is \"{VisibleText.Shortened(text)}\", expected step:bytes:hash");

    private static long Number(string text) => long.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture);
}
