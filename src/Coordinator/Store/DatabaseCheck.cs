using Microsoft.Data.Sqlite;

namespace MLDistributed.Coordinator.Store;

/// <summary>
/// SQLite's quick_check of all pages: 0.1 ms for a new database, about 0.4 s a GB from memory and as long as reading it from
/// a disk. What a page says is checked for its form, not for what it means.
/// </summary>
internal static class DatabaseCheck
{
    private const int MaxFindings = 3;
    private const int Interrupted = 9; // SQLITE_INTERRUPT

    /// <summary>What is wrong, as SQLite says it; empty when all is well. Null: it took longer than the limit.</summary>
    public static IReadOnlyList<string>? Run(SqliteConnection connection, TimeSpan limit, TimeProvider time)
    {
        using var command = connection.CreateCommand();
        command.CommandText = $"PRAGMA quick_check({MaxFindings});";
        using var timer = time.CreateTimer(_ => SQLitePCL.raw.sqlite3_interrupt(connection.Handle), null, limit, Timeout.InfiniteTimeSpan);
        try
        {
            using var reader = command.ExecuteReader();
            var findings = new List<string>();
            while (reader.Read())
                findings.Add(reader.GetString(0));
            return findings is ["ok"] ? [] : findings;
        }
        catch (SqliteException e) when (e.SqliteErrorCode == Interrupted)
        {
            return null;
        }
    }
}
