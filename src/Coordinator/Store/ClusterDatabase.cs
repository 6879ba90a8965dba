using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Store;

/// <summary>The SQLite file of a data folder.</summary>
internal sealed class ClusterDatabase
{
    private const int SchemaVersion = 8;

    // What version 7 lacks.
    private const string Upgrade = "CREATE TABLE \"Cordons\" (\"WorkerId\" TEXT NOT NULL CONSTRAINT \"PK_Cordons\" PRIMARY KEY, \"Reason\" TEXT NOT NULL, \"Since\" INTEGER NOT NULL); PRAGMA user_version = 8;";

    private static readonly TimeSpan CheckLimit = TimeSpan.FromSeconds(30);
    private readonly string _connectionString;
    private readonly DbContextOptions<ClusterDbContext> _options;

    private readonly bool _isCache;

    private ClusterDatabase(string path, bool isCache)
    {
        Path = path;
        _isCache = isCache;
        _connectionString = new SqliteConnectionStringBuilder { DataSource = path, Cache = SqliteCacheMode.Default }.ToString();
        _options = new DbContextOptionsBuilder<ClusterDbContext>().UseSqlite(_connectionString).Options;
    }

    public string Path { get; }

    /// <summary>Whether this opening made it.</summary>
    public bool IsNew { get; private set; }

    /// <summary>Whether all of its pages were looked at; false: there are so many that the time for it was over.</summary>
    public bool IsChecked { get; private set; } = true;

    /// <summary>Whether a coordinator has run on this folder.</summary>
    public static bool Exists(string dataFolder) => HasContent(PathIn(dataFolder));

    /// <summary>Opens and checks the database of a coordinator that starts; makes it in a folder that has none of an earlier one's files.</summary>
    /// <exception cref="InvalidOperationException">It is of another release, damaged, cannot be written, or is missing beside what it should know.</exception>
    public static ClusterDatabase Open(DataFolder data, CoordinatorOptions options)
    {
        var path = PathIn(data.Path);
        if (!HasContent(path))
            BeginAnew(path, data, options.BeginAnew);
        return Guard(path, () =>
        {
            var database = new ClusterDatabase(path, options.IsCache);
            using var connection = database.OpenConnection();
            if (Version(connection) == 0)
                database.Create(connection);
            else
                database.Check(connection, options.Time);
            return database;
        });
    }

    /// <summary>Opens the database of a coordinator that may be running.</summary>
    /// <exception cref="InvalidOperationException">It is of another release, damaged, or cannot be written.</exception>
    public static ClusterDatabase OpenExisting(string dataFolder)
    {
        var path = PathIn(dataFolder);
        return Guard(path, () =>
        {
            var database = new ClusterDatabase(path, isCache: false);
            using var connection = database.OpenConnection();
            database.RequireVersion(Version(connection));
            return database;
        });
    }

    private static ClusterDatabase Guard(string path, Func<ClusterDatabase> open)
    {
        try
        {
            return open();
        }
        catch (SqliteException e)
        {
            var free = DiskSpace.Words(DiskSpace.FreeBytes(System.IO.Path.GetDirectoryName(path)!));
            throw new InvalidOperationException(
                $"Database \"{path}\" cannot be used ({e.Message.TrimEnd('.')}; {free} free), expected a coordinator's database, or none, in a folder with room. Make room; or, if it is damaged, move it away with the files whose names begin with its own, and put its backup there.",
                e);
        }
    }

    // What the files of an earlier coordinator are worth without it: nobody's keys, jobs or workers are known.
    private static void BeginAnew(string path, DataFolder data, bool isAllowed)
    {
        if (!isAllowed && data.FirstTrace() is { } trace)
            throw new InvalidOperationException(
                $"Database \"{path}\" is {(File.Exists(path) ? "empty" : "missing")}, expected that of the coordinator whose \"{trace}\" is in this data folder: all its keys, jobs and workers would be forgotten. Put its backup there; or begin anew on purpose, with --begin-anew (CoordinatorOptions.BeginAnew) or in another data folder.");
        foreach (var leftover in new[] { path, path + "-wal", path + "-shm", CommitMark.PathIn(data.Path) })
            File.Delete(leftover);
    }

    private void Check(SqliteConnection connection, TimeProvider time)
    {
        var version = Version(connection);
        RequireVersion(version == SchemaVersion - 1 ? SchemaVersion : version);
        var findings = DatabaseCheck.Run(connection, CheckLimit, time);
        IsChecked = findings is not null;
        if (findings is { Count: > 0 })
            throw new InvalidOperationException(
                $"Database \"{Path}\" is damaged ({string.Join("; ", findings).ReplaceLineEndings(" ").TrimEnd('.')}), expected one that SQLite's quick_check finds whole. Move it away with the files whose names begin with its own, put its backup there, and check that disk; without a backup, begin anew with --begin-anew.");
        if (version == SchemaVersion)
            return;
        using var transaction = connection.BeginTransaction();
        Execute(connection, Upgrade, transaction);
        transaction.Commit();
    }

    private void RequireVersion(long version)
    {
        if (version != SchemaVersion)
            throw new InvalidOperationException(
                $"Database \"{Path}\" has schema version {version}, expected {SchemaVersion}. Run the release that wrote it, or give the coordinator an empty data folder.");
    }

    private static bool HasContent(string path) => new FileInfo(path) is { Exists: true, Length: > 0 };

    private static long Version(SqliteConnection connection) => Scalar(connection, "PRAGMA user_version;");

    private static string PathIn(string dataFolder) => System.IO.Path.Combine(dataFolder, "coordinator.db");

    public ClusterDbContext NewContext() => new(_options);

    /// <summary>A context over a connection that the caller keeps open.</summary>
    public static ClusterDbContext NewContext(SqliteConnection connection) =>
        new(new DbContextOptionsBuilder<ClusterDbContext>().UseSqlite(connection).Options);

    public SqliteConnection OpenConnection()
    {
        var connection = new SqliteConnection(_connectionString);
        connection.Open();
        // FULL: what was acknowledged survives a power cut, for one wait for the disk a commit. NORMAL survives the process alone,
        // as a local cluster's app does.
        Execute(connection, $"PRAGMA journal_mode = WAL; PRAGMA synchronous = {(_isCache ? "NORMAL" : "FULL")};");
        return connection;
    }

    /// <summary>Closes the pooled connections, so that the file is whole without its log and may be moved.</summary>
    public void Close()
    {
        using var connection = new SqliteConnection(_connectionString);
        SqliteConnection.ClearPool(connection);
    }

    /// <summary>How far it is.</summary>
    /// <remarks>Raw SQL, as all that a start waits for: EF's model and its first query take a second to compile.</remarks>
    public CommitCount LastCommit()
    {
        using var connection = OpenConnection();
        using var command = connection.CreateCommand();
        command.CommandText = "SELECT \"Id\", \"Commits\" FROM \"Starts\" ORDER BY \"Id\" DESC LIMIT 1;";
        using var reader = command.ExecuteReader();
        return reader.Read() ? new CommitCount(reader.GetInt64(0), reader.GetInt64(1)) : default;
    }

    /// <summary>Counts a start of the coordinator; every start's number is higher than the one before.</summary>
    /// <param name="now">The time.</param>
    /// <param name="last">The highest number known of outside, should the database have lost some.</param>
    public StartRow RecordStart(DateTimeOffset now, long last)
    {
        using var connection = OpenConnection();
        var id = Scalar(connection, $"INSERT INTO \"Starts\" (\"Id\", \"Time\", \"Commits\") VALUES (MAX(IFNULL((SELECT MAX(\"Id\") FROM \"Starts\"), 0), {last}) + 1, {now.ToUnixTimeMilliseconds()}, 0) RETURNING \"Id\";");
        return new StartRow { Id = id, Time = now, Commits = 0 };
    }

    // Raw SQL: EF's own creation costs a good half second of a local cluster's start. A test keeps the script equal to the model.
    private void Create(SqliteConnection connection)
    {
        IsNew = true;
        using var resource = typeof(ClusterDatabase).Assembly.GetManifestResourceStream("schema.sql")!;
        using var reader = new StreamReader(resource);
        using var transaction = connection.BeginTransaction();
        Execute(connection, reader.ReadToEnd() + $"PRAGMA user_version = {SchemaVersion};", transaction);
        transaction.Commit();
    }

    private static long Scalar(SqliteConnection connection, string sql)
    {
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        return (long)command.ExecuteScalar()!;
    }

    private static void Execute(SqliteConnection connection, string sql, SqliteTransaction? transaction = null)
    {
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        command.Transaction = transaction;
        command.ExecuteNonQuery();
    }
}
