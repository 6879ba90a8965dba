using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Store;

/// <summary>The coordinator's disk took something not: the message names it, the folder and what is free. Callers get it as it is.</summary>
internal sealed class StoreException : Exception
{
    public StoreException(string what, string folder, Exception cause) : base(DiskSpace.Explain(what, folder, cause), cause)
    {
    }

    private StoreException(string message) : base(message)
    {
    }

    public static bool Covers(Exception e) => e is IOException or UnauthorizedAccessException;

    /// <summary>Refuses what would leave less than a reserve free, without which the database could not be written either.</summary>
    /// <param name="what">The subject of the message.</param>
    /// <param name="folder">Where it is to be written.</param>
    /// <param name="bytes">Its size, as far as it is known.</param>
    /// <param name="reserve">What must stay free.</param>
    public static void RequireRoom(string what, string folder, long bytes, long reserve)
    {
        if (DiskSpace.FreeBytes(folder) is { } free && free < bytes + reserve)
            throw new StoreException(
                $"{what} cannot be written to \"{folder}\" ({DiskSpace.Words(free)} free), expected room for {DiskSpace.Words(bytes)} beside a reserve of {DiskSpace.Words(reserve)}. Make room on the coordinator's disk, or give it a data folder on a larger one.");
    }
}
