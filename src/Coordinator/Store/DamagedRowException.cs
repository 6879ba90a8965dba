using Google.Protobuf;

namespace MLDistributed.Coordinator.Store;

/// <summary>A row of the database that this release cannot have written: it is left out, and named, and everything else goes on.</summary>
internal sealed class DamagedRowException(string what, string id, Exception cause)
    : Exception($"{what} \"{id}\" in the database cannot be read ({cause.Message.TrimEnd('.')}), expected a row that this release wrote. Restore the database from a backup, or remove the row.", cause)
{
    /// <summary>Reads a row, or what is in one.</summary>
    /// <exception cref="DamagedRowException">It cannot be read.</exception>
    public static T Read<T>(string what, string id, Func<T> read)
    {
        try
        {
            return read();
        }
        // What parsers, and EF where a column has another type, throw.
        catch (Exception e) when (e is FormatException or InvalidProtocolBufferException or OverflowException or InvalidCastException or ArgumentException or InvalidOperationException)
        {
            throw new DamagedRowException(what, id, e);
        }
    }
}
