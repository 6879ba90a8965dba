using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using Grpc.Core;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>
/// A coordinator and a worker on this machine, as children of this process. They start in the background; what needs
/// them waits for <see cref="Ready"/>. A child that dies is started again in the same folder, so that jobs go on.
/// </summary>
internal sealed class LocalCluster : IDisposable
{
    // What mldist ends with at an option that it does not have.
    private const int UsageExitCode = 2;
    private const int MaxRestarts = 5;
    private const int LinesShown = 20;
    private static readonly TimeSpan s_stable = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan s_leaveLimit = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan s_pollInterval = TimeSpan.FromMilliseconds(20);
    private readonly Lock _gate = new();
    private readonly LocalClusterOptions _options;
    private readonly RuntimeCommand _runtime;
    private readonly RunDirectory _directory;
    private readonly CancellationTokenSource _stopping = new();
    private readonly CancellationTokenSource _broken = new();
    private readonly TaskCompletionSource _ready = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Dictionary<string, RuntimeProcess> _children = [];
    private readonly LineRing _lines = new();
    private bool _stopped;

    private LocalCluster(LocalClusterOptions options, RuntimeCommand runtime)
    {
        _options = options;
        _runtime = runtime;
        _directory = RunDirectory.Create();
        SocketPath = _directory.SocketPath("c.sock");
        Connection = ClusterConnection.Open(UnixSocketAddress.Of(SocketPath));
    }

    /// <summary>What the children say and what becomes of them.</summary>
    public event Action<LogLine>? Told;

    public string SocketPath { get; }

    public ClusterConnection Connection { get; }

    /// <summary>Where datasets are written: on the file system of the coordinator's store. Made again when something removed it.</summary>
    /// <exception cref="IOException">It cannot be made.</exception>
    public string IncomingFolder
    {
        get
        {
            _directory.Restore();
            return Directory.CreateDirectory(Path.Combine(_directory.Path, "incoming")).FullName;
        }
    }

    /// <summary>Ends when the coordinator answers; fails with <see cref="Failure"/>.</summary>
    public Task Ready => _ready.Task;

    /// <summary>Cancelled when the cluster cannot be kept running.</summary>
    public CancellationToken Broken => _broken.Token;

    /// <summary>Why, with the children's last words.</summary>
    public ClusterException? Failure { get; private set; }

    internal string RunFolder => _directory.Path;

    internal IReadOnlyList<int> ProcessIds
    {
        get
        {
            lock (_gate)
                return [.. _children.Values.Select(c => c.Id)];
        }
    }

    /// <summary>Returns at once; the processes start in the background.</summary>
    /// <exception cref="ClusterException">There is no runtime.</exception>
    public static LocalCluster Start(LocalClusterOptions options, RuntimeLocator? locator = null)
    {
        options.Validate();
        var cluster = new LocalCluster(options, (locator ?? new RuntimeLocator()).Locate(options.RuntimePath));
        var run = cluster._directory.Path;
        _ = Task.Run(() => cluster.KeepAsync("coordinator",
            ["coordinator", "--data", Path.Combine(run, "coordinator"), "--socket", cluster.SocketPath, "--cache-bytes", options.CacheBytes.ToString(CultureInfo.InvariantCulture), "--begin-anew", "--user-code", "allow", "--run-directory", run, "--lifeline"]));
        _ = Task.Run(() => cluster.KeepAsync("worker",
            ["worker", "--coordinator", cluster.Connection.Address.OriginalString, "--work", Path.Combine(run, "worker"), "--run-directory", run, "--lifeline", .. options.WorkerArguments()]));
        _ = Task.Run(cluster.AwaitCoordinatorAsync);
        return cluster;
    }

    /// <summary>Waits for the worker and refuses what it can never give.</summary>
    /// <exception cref="ArgumentException">The job asks for more ranks or memory than there are, or another kind of device.</exception>
    public async Task RequireCapacityAsync(JobSpec spec, CancellationToken cancellation)
    {
        var jobs = new Jobs.JobsClient(Connection.Invoker);
        using var started = new AwakeStopwatch(_options.Time);
        while (started.Elapsed < _options.StartTimeout)
        {
            var devices = await DevicesAsync(jobs, cancellation).ConfigureAwait(false);
            if (devices.Count > 0)
            {
                if (LocalCapacity.Refusal(spec, devices) is { } refusal)
                    throw new ArgumentException(refusal);
                return;
            }

            await Task.Delay(s_pollInterval, _options.Time, cancellation).ConfigureAwait(false);
        }
    }

    private async Task<IReadOnlyList<Device>> DevicesAsync(Jobs.JobsClient jobs, CancellationToken cancellation)
    {
        try
        {
            var cluster = (await jobs.GetClusterAsync(new GetClusterRequest(), cancellationToken: cancellation).AnswerWithinAsync(_options.StartTimeout, _options.Time).ConfigureAwait(false)).MakeVisible();
            return cluster.Workers.FirstOrDefault(w => w.Status != "lost")?.Devices ?? [];
        }
        catch (RpcException e) when (ClusterErrors.IsTransient(e))
        {
            cancellation.ThrowIfCancellationRequested();
            return []; // it is started again
        }
    }

    public void Dispose()
    {
        RuntimeProcess[] children;
        lock (_gate)
        {
            if (_stopped)
                return;
            _stopped = true;
            children = [.. _children.Values];
        }

        _stopping.Cancel();
        foreach (var child in children)
            child.CloseInput();
        var closed = _options.Time.GetTimestamp();
        foreach (var child in children)
        {
            child.WaitOrKill(s_leaveLimit - _options.Time.GetElapsedTime(closed));
            child.Dispose();
        }

        Connection.Dispose();
        _directory.Dispose();
        _ready.TrySetException(new ObjectDisposedException(nameof(TrainingCluster)));
        _ = _ready.Task.Exception; // nobody may be waiting
    }

    private async Task KeepAsync(string role, string[] arguments)
    {
        var restarts = 0;
        try
        {
            while (StartChild(role, arguments) is { } child)
            {
                var started = _options.Time.GetTimestamp();
                var code = await child.Exited.ConfigureAwait(false);
                if (_stopping.IsCancellationRequested)
                    return;
                if (_options.Time.GetElapsedTime(started) > s_stable)
                    restarts = 0;
                var ended = $"The local cluster's {role} ended with exit code {code}";
                if (code == UsageExitCode && !_ready.Task.IsCompleted)
                {
                    Break($"The runtime \"{_runtime.FileName}\" does not know how this library starts a {role}, expected mldist of the release {typeof(LocalCluster).Assembly.GetName().Version?.ToString(3)}: it is of another. Update it, as with \"dotnet tool update mldist\", or add the package MLDistributed.Local, which brings its own. It says:");
                    return;
                }

                if (!_ready.Task.IsCompleted || restarts == MaxRestarts)
                {
                    Break($"{ended}{(restarts > 0 ? $" after {restarts} restarts" : " while it started")}, expected it to run. Its last words tell why.");
                    return;
                }

                restarts++;
                Tell(LogLevel.Warning, "client", $"{ended}; it is started again ({restarts} of {MaxRestarts}), and training goes on.");
                await Task.Delay(TimeSpan.FromMilliseconds(50 << restarts), _options.Time, _stopping.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // Stopped between two starts.
        }
        catch (Exception e) when (e is ClusterException or IOException)
        {
            Break(e.Message, e);
        }
    }

    private RuntimeProcess? StartChild(string role, string[] arguments)
    {
        lock (_gate)
        {
            if (_stopped)
                return null;
            if (_children.Remove(role, out var former))
                former.Dispose();
            _directory.Restore(); // a child may have ended because its folder is gone
            return _children[role] = new RuntimeProcess(_runtime, arguments, _directory.Path, line =>
            {
                _lines.Add($"{role}: {line}");
                Tell(LogLevel.Trace, role, line);
            });
        }
    }

    [SuppressMessage("Design", "CA1031", Justification = "A background task: what it meets goes to those who wait.")]
    private async Task AwaitCoordinatorAsync()
    {
        using var started = new AwakeStopwatch(_options.Time);
        var jobs = new Jobs.JobsClient(Connection.Invoker);
        try
        {
            while (!_broken.IsCancellationRequested)
            {
                if (File.Exists(SocketPath) && await AnswersAsync(jobs).ConfigureAwait(false))
                {
                    _ready.TrySetResult();
                    return;
                }

                if (started.Elapsed > _options.StartTimeout)
                {
                    Break($"The local cluster did not start within {_options.StartTimeout.TotalSeconds:0.#} s (LocalClusterOptions.StartTimeout).");
                    return;
                }

                await Task.Delay(s_pollInterval, _options.Time, _stopping.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // Disposed while it started.
        }
        catch (Exception e)
        {
            Break($"The local cluster cannot be used: {e.Message}", e);
        }
    }

    private async Task<bool> AnswersAsync(Jobs.JobsClient jobs)
    {
        try
        {
            await jobs.GetClusterAsync(new GetClusterRequest(), cancellationToken: _stopping.Token).AnswerWithinAsync(_options.StartTimeout, _options.Time).ConfigureAwait(false);
            return true;
        }
        catch (RpcException e) when (ClusterErrors.IsTransient(e))
        {
            _stopping.Token.ThrowIfCancellationRequested();
            return false;
        }
        catch (RpcException e)
        {
            throw ClusterErrors.Translate(e, Connection.Address);
        }
    }

    private void Break(string reason, Exception? cause = null)
    {
        lock (_gate)
        {
            if (_stopped || Failure is not null)
                return;
            var lines = _lines.Last(LinesShown);
            Failure = new ClusterException(
                lines.Count == 0 ? $"{reason} It wrote nothing." : $"{reason}{Environment.NewLine}  {string.Join(Environment.NewLine + "  ", lines)}",
                cause);
        }

        _ready.TrySetException(Failure);
        _ = _ready.Task.Exception; // nobody may be waiting
        _broken.Cancel();
    }

    [SuppressMessage("Design", "CA1031", Justification = "A listener's failure on this background thread would end the app.")]
    private void Tell(LogLevel level, string source, string message)
    {
        try
        {
            Told?.Invoke(new LogLine { Level = level, Source = source, Message = message });
        }
        catch (Exception e)
        {
            _lines.Add($"log: {e.Message}");
        }
    }
}
