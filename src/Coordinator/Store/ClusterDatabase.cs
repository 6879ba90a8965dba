using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Store;

/// <summary>The SQLite file of a data folder.</summary>
internal sealed class ClusterDatabase
{
    private const int SchemaVersion = 6;
    private readonly string _connectionString;
    private readonly DbContextOptions<ClusterDbContext> _options;

    private ClusterDatabase(string path)
    {
        Path = path;
        _connectionString = new SqliteConnectionStringBuilder { DataSource = path, Cache = SqliteCacheMode.Default }.ToString();
        _options = new DbContextOptionsBuilder<ClusterDbContext>().UseSqlite(_connectionString).Options;
    }

    public string Path { get; }

    /// <summary>Whether this opening made it.</summary>
    public bool IsNew { get; private set; }

    /// <summary>Whether a coordinator has run on this folder.</summary>
    public static bool Exists(string dataFolder) => File.Exists(PathIn(dataFolder));

    /// <summary>Opens the database, and makes it when it is missing.</summary>
    /// <exception cref="InvalidOperationException">It is of another release, damaged, or cannot be written.</exception>
    public static ClusterDatabase Open(string dataFolder)
    {
        var path = PathIn(dataFolder);
        try
        {
            return OpenFile(path);
        }
        catch (SqliteException e)
        {
            throw new InvalidOperationException(
                $"Database \"{path}\" cannot be used ({e.Message.TrimEnd('.')}; {DiskSpace.Words(DiskSpace.FreeBytes(dataFolder))} free), expected a coordinator's database, or none, in a folder with room. Make room, or move a damaged file away and put its backup there.",
                e);
        }
    }

    private static ClusterDatabase OpenFile(string path)
    {
        var database = new ClusterDatabase(path);
        using var connection = database.OpenConnection();
        var version = Scalar(connection, "PRAGMA user_version;");
        if (version == 0)
            database.Create(connection);
        else if (version != SchemaVersion)
            throw new InvalidOperationException(
                $"Database \"{database.Path}\" has schema version {version}, expected {SchemaVersion}. Run the release that wrote it, or give the coordinator an empty data folder.");
        return database;
    }

    private static string PathIn(string dataFolder) => System.IO.Path.Combine(dataFolder, "coordinator.db");

    public ClusterDbContext NewContext() => new(_options);

    /// <summary>A context over a connection that the caller keeps open.</summary>
    public static ClusterDbContext NewContext(SqliteConnection connection) =>
        new(new DbContextOptionsBuilder<ClusterDbContext>().UseSqlite(connection).Options);

    public SqliteConnection OpenConnection()
    {
        var connection = new SqliteConnection(_connectionString);
        connection.Open();
        // NORMAL: a commit survives the process; a power cut may undo the last ones, which a worker then tells again.
        Execute(connection, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;");
        return connection;
    }

    /// <summary>Closes the pooled connections, so that the file is whole without its log and may be moved.</summary>
    public void Close()
    {
        using var connection = new SqliteConnection(_connectionString);
        SqliteConnection.ClearPool(connection);
    }

    /// <summary>Counts a start of the coordinator; every start's number is higher than the one before.</summary>
    public long RecordStart(DateTimeOffset now)
    {
        using var connection = OpenConnection();
        return Scalar(connection, $"INSERT INTO \"Starts\" (\"Time\") VALUES ({now.ToUnixTimeMilliseconds()}) RETURNING \"Id\";");
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
