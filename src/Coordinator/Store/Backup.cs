using Microsoft.Data.Sqlite;
using MLDistributed.Coordinator.Hosting;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Store;

/// <summary>Copies a data folder while its coordinator runs, into one with which another coordinator can start.</summary>
/// <remarks>
/// The database goes first, by SQLite's own backup: every file that it names was there then, and what comes later it does not
/// name. Stored files are named by their content, so that a later backup into the same folder copies new ones only.
/// </remarks>
internal static class Backup
{
    private const string TempPrefix = "tmp-";

    /// <exception cref="IOException">The folder cannot be made or written, or is the coordinator's own.</exception>
    public static BackupResult Make(ClusterDatabase database, string from, string to, CancellationToken cancellation)
    {
        (from, to) = (Path.GetFullPath(from), Path.GetFullPath(to));
        if (Path.GetRelativePath(from, to) is var relative && (relative == "." || !(relative.StartsWith("..", StringComparison.Ordinal) || Path.IsPathRooted(relative))))
            throw new IOException($"Backup folder \"{to}\" is in the data folder \"{from}\", expected one elsewhere, on another disk best. Choose another with --to.");
        if (File.Exists(DataFolder.LockIn(to)))
            throw new IOException($"Backup folder \"{to}\" is a coordinator's data folder, expected an empty folder, or that of an earlier backup. Choose another with --to.");
        try
        {
            DataFolder.Create(to);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"Backup folder \"{to}\" cannot be made ({e.Message.TrimEnd('.')}), expected a folder that this user can write. Choose another with --to.", e);
        }

        CopyDatabase(database, Path.Combine(to, Path.GetFileName(database.Path)));
        if (File.Exists(ServerCertificate.PathIn(from)))
            CopyFile(ServerCertificate.PathIn(from), ServerCertificate.PathIn(to));
        var result = new BackupResult(0, 0, 0);
        foreach (var folder in new[] { "blobs", "datasets" })
        {
            DataFolder.Create(Path.Combine(to, folder));
            foreach (var file in new DirectoryInfo(Path.Combine(from, folder)).EnumerateFiles())
            {
                cancellation.ThrowIfCancellationRequested();
                if (!ContentHash.TryParse(Path.GetFileNameWithoutExtension(file.Name), out _))
                    continue; // not whole yet
                var target = new FileInfo(Path.Combine(to, folder, file.Name));
                try
                {
                    if (target.Exists && target.Length == file.Length)
                    {
                        result = result with { Kept = result.Kept + 1 };
                        continue;
                    }

                    CopyFile(file.FullName, target.FullName);
                    result = new BackupResult(result.Copied + 1, result.Kept, result.Bytes + file.Length);
                }
                catch (FileNotFoundException)
                {
                    // Retention removed it: the database's copy may name it, as one whose disk lost it does.
                }
            }
        }

        return result;
    }

    private static void CopyDatabase(ClusterDatabase database, string to)
    {
        var temp = Path.Combine(Path.GetDirectoryName(to)!, TempPrefix + Path.GetFileName(to));
        File.Delete(temp);
        using (var source = database.OpenConnection())
        using (var copy = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = temp, Pooling = false }.ToString()))
        {
            copy.Open();
            source.BackupDatabase(copy);
        }

        // The log of a coordinator that was started on an earlier backup would be played into this one.
        foreach (var leftover in new[] { to + "-wal", to + "-shm" })
            File.Delete(leftover);
        using (var file = new FileStream(temp, FileMode.Open, FileAccess.ReadWrite))
            file.Flush(flushToDisk: true);
        Publish(temp, to);
    }

    private static void CopyFile(string from, string to)
    {
        var temp = Path.Combine(Path.GetDirectoryName(to)!, TempPrefix + Path.GetFileName(to));
        using (var source = File.OpenRead(from))
        using (var copy = new FileStream(temp, FileMode.Create, FileAccess.Write))
        {
            source.CopyTo(copy);
            copy.Flush(flushToDisk: true);
        }

        Publish(temp, to);
    }

    private static void Publish(string temp, string to)
    {
        File.Move(temp, to, overwrite: true);
        DirectorySync.Flush(Path.GetDirectoryName(to)!);
    }
}

/// <summary>What a backup did.</summary>
/// <param name="Copied">Stored files that it copied.</param>
/// <param name="Kept">Stored files that an earlier backup had copied.</param>
/// <param name="Bytes">Of the copied ones.</param>
public readonly record struct BackupResult(int Copied, int Kept, long Bytes);
