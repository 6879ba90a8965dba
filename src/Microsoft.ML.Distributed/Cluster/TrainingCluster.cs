using Grpc.Core;
using System.Collections.Concurrent;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A coordinator and its workers, on which trainers run their jobs. Safe for use by several threads.</summary>
public sealed partial class TrainingCluster : ITrainingBackend, IDisposable, IAsyncDisposable
{
    // As long as a job takes to be cancelled.
    private static readonly TimeSpan s_disposeLimit = TimeSpan.FromSeconds(2);
    private static readonly Lock s_gate = new();
    private static TrainingCluster? s_automatic;
    private readonly CoordinatorClient _coordinator;
    private readonly LocalCluster? _local;
    private readonly Lazy<RunDirectory> _encoding = new(MakeEncodingFolder);
    private readonly CancellationTokenSource _disposing = new();
    private readonly ConcurrentDictionary<Task, bool> _calls = new();
    private int _isDisposed;

    private TrainingCluster(ClusterConnection connection, TrainingClusterOptions options, LocalCluster? local)
    {
        _coordinator = new CoordinatorClient(connection, options);
        _local = local;
    }

    /// <summary>Where the coordinator is.</summary>
    public Uri Address => _coordinator.Address;

    /// <summary>The cluster of apps that name none: started once a process, in the background, and stopped with it.</summary>
    internal static TrainingCluster Automatic
    {
        get
        {
            lock (s_gate)
            {
                if (s_automatic is { _isDisposed: 0, _local.Failure: null })
                    return s_automatic;
                if (s_automatic is null)
                    ProcessEnd.Do(() => s_automatic?.Dispose());
                s_automatic?.Dispose();
                return s_automatic = StartLocal();
            }
        }
    }

    internal LocalCluster? Local => _local;

    /// <summary>Uses a coordinator that asks for no key, over a Unix socket. Connects on first use, and again whenever the connection is lost.</summary>
    /// <param name="coordinator">unix:///path/to/socket.</param>
    /// <exception cref="ArgumentException">The address is malformed.</exception>
    public static TrainingCluster Connect(Uri coordinator) => Connect(coordinator, new TrainingClusterOptions());

    /// <summary>Uses a coordinator. Connects on first use, and again whenever the connection is lost.</summary>
    /// <param name="coordinator">https://host:port, unix:///path/to/socket, or on this machine http://localhost:port.</param>
    /// <param name="apiKey">The key that its administrator gave out; null over a Unix socket.</param>
    /// <exception cref="ArgumentException">The address or the key is malformed.</exception>
    public static TrainingCluster Connect(Uri coordinator, string? apiKey) =>
        Connect(coordinator, new TrainingClusterOptions { ApiKey = apiKey });

    /// <summary>Uses a coordinator. Connects on first use, and again whenever the connection is lost.</summary>
    /// <param name="coordinator">https://host:port, unix:///path/to/socket, or on this machine http://localhost:port.</param>
    /// <param name="options">Key, certificate and patience.</param>
    /// <exception cref="ArgumentException">The address or an option is malformed.</exception>
    public static TrainingCluster Connect(Uri coordinator, TrainingClusterOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        options.Validate();
        return new TrainingCluster(ClusterConnection.Open(coordinator, options.ApiKey, options.CertificateFingerprint), options, local: null);
    }

    /// <summary>
    /// Starts a coordinator and a worker as children of this process, in the background: returns at once, and the first
    /// job waits until they are ready. They leave when this object is disposed or this process ends, however it does.
    /// </summary>
    /// <param name="options">Null: one rank for each GPU or core.</param>
    /// <exception cref="ArgumentException">An option is out of range.</exception>
    /// <exception cref="ClusterException">The runtime <c>mldist</c> was not found.</exception>
    public static TrainingCluster StartLocal(LocalClusterOptions? options = null)
    {
        var local = LocalCluster.Start(options ?? new LocalClusterOptions());
        return new TrainingCluster(local.Connection, new TrainingClusterOptions(), local);
    }

    /// <summary>The cluster that MLDIST_COORDINATOR, MLDIST_API_KEY and MLDIST_FINGERPRINT name; null when they name none.</summary>
    internal static TrainingCluster? FromEnvironment(Func<string, string?>? variable = null)
    {
        if (ClusterEnvironment.Read(variable ?? ClusterVariables.Read) is not { } named)
            return null;
        try
        {
            return Connect(named.Address, named.Options);
        }
        catch (ArgumentException e)
        {
            throw new ClusterException($"{e.Message} It comes from one of {string.Join(", ", ClusterVariables.All)}: correct it, or unset them to train on this machine.", e);
        }
    }

    /// <summary>Looks at the cluster: its workers, their devices and its jobs. A local cluster is waited for.</summary>
    /// <exception cref="ClusterException">The coordinator cannot be reached or refuses the key.</exception>
    public ClusterStatus GetStatus() => Block(() => GetStatusAsync(CancellationToken.None));

    /// <inheritdoc cref="GetStatus"/>
    public Task<ClusterStatus> GetStatusAsync(CancellationToken cancellation = default) => CallAsync(async either =>
    {
        await ReadyAsync(either).ConfigureAwait(false);
        return ClusterStatus.From(await _coordinator.GetClusterAsync(either).ConfigureAwait(false));
    }, cancellation);

    /// <summary>Finds out, before data is encoded, that a coordinator is not there or refuses this client. Does not wait for a local one.</summary>
    internal void Prepare(CancellationToken cancellation)
    {
        ObjectDisposedException.ThrowIf(_isDisposed != 0, this);
        if (_local is null)
        {
            Block(() => CallAsync(async either =>
            {
                await _coordinator.CheckAsync(either).ConfigureAwait(false);
                return true;
            }, cancellation));
        }
        else if (_local.Failure is { } failure)
            throw failure;
    }

    string ITrainingBackend.NewDatasetFile(string? folder, CancellationToken cancellation)
    {
        Prepare(cancellation);
        return folder is null
            ? Path.Combine(_local?.IncomingFolder ?? EncodingFolder(), $"{Guid.NewGuid():N}.arrow")
            : NewPrivateFile(Path.Combine(folder, $"mldist-{Guid.NewGuid():N}.arrow"));
    }

    TrainedJob ITrainingBackend.Train(JobSpec spec, JobInputs inputs, IProgress<TrainingProgress>? progress, Action<LogLine> log, CancellationToken cancellation) =>
        Run(spec, inputs, progress, log, (run, either) => run.RunAsync(either), cancellation);

    string ITrainingBackend.Submit(JobSpec spec, JobInputs inputs, IProgress<TrainingProgress>? progress, Action<LogLine> log, CancellationToken cancellation) =>
        Run(spec, inputs, progress, log, (run, either) => run.SubmitAsync(either), cancellation);

    private T Run<T>(JobSpec spec, JobInputs inputs, IProgress<TrainingProgress>? progress, Action<LogLine> log, Func<JobRun, CancellationToken, Task<T>> run, CancellationToken cancellation)
    {
        try
        {
            ObjectDisposedException.ThrowIf(_isDisposed != 0, this);
            return Block(() => CallAsync(either => TrainAsync(spec, inputs, progress, log, run, cancellation, either), cancellation));
        }
        finally
        {
            File.Delete(inputs.Training.Path);
            if (inputs.Validation is { } validation)
                File.Delete(validation.Path);
        }
    }

    /// <summary>
    /// Lets go of the coordinator; stops a local cluster. A <c>Fit</c> that still runs on it cancels its job and throws
    /// <see cref="ObjectDisposedException"/>.
    /// </summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) != 0)
            return;
        if (!ProcessEnd.HasBegun)
        {
            _disposing.Cancel();
            Block(async () =>
            {
                await Task.WhenAll(_calls.Keys).WaitAsync(s_disposeLimit).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                return true;
            });
        }

        _coordinator.Dispose();
        _local?.Dispose();
        if (_encoding.IsValueCreated)
            _encoding.Value.Dispose();
    }

    /// <inheritdoc cref="Dispose"/>
    public ValueTask DisposeAsync() => new(Task.Run(Dispose));

    private async Task<T> TrainAsync<T>(JobSpec spec, JobInputs inputs, IProgress<TrainingProgress>? progress, Action<LogLine> log, Func<JobRun, CancellationToken, Task<T>> run, CancellationToken cancellation, CancellationToken cancellationOrDisposal)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationOrDisposal, _local?.Broken ?? CancellationToken.None);
        using var trainingLog = new TrainingLog(log);
        if (_local is not null)
            _local.Told += trainingLog.Write;
        try
        {
            if (_local is { Ready.IsCompleted: false })
                progress?.Report(new TrainingProgress { JobId = "", State = TrainingState.Queued, Message = "the local cluster starts" });
            await ReadyAsync(either.Token).ConfigureAwait(false);
            if (_local is not null && LocalCapacity.IsAsked(spec))
                await _local.RequireCapacityAsync(spec, either.Token).ConfigureAwait(false);
            // Before the data is sent; the coordinator refuses the job too.
            if (_local is null && spec.Module?.Torch is not null && !(await _coordinator.GetClusterAsync(either.Token).ConfigureAwait(false)).AcceptsCode)
                throw new ClusterException($"Coordinator {Address} does not allow this: {CodePackage.Denied}");
            var transfer = new DatasetTransfer(_coordinator, progress, trainingLog.Write);
            await transfer.ProvideAsync(inputs.Training, either.Token).ConfigureAwait(false);
            if (inputs.Validation is { } validation && validation.Id != inputs.Training.Id)
                await transfer.ProvideAsync(validation, either.Token).ConfigureAwait(false);
            foreach (var file in inputs.Files)
                await new ArtifactUpload(_coordinator).SendAsync(file, either.Token).ConfigureAwait(false);
            return await run(new JobRun(_coordinator, spec, progress, trainingLog.Write), either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException e) when (cancellation.IsCancellationRequested)
        {
            throw new OperationCanceledException("The training was cancelled.", e, cancellation);
        }
        catch (Exception e) when (_local?.Failure is not null && e is OperationCanceledException or ClusterException)
        {
            throw _local?.Failure ?? e;
        }
        finally
        {
            if (_local is not null)
                _local.Told -= trainingLog.Write;
        }
    }

    /// <summary>Private, for data is; few apps dispose a cluster that they connected to, so it goes with the process too.</summary>
    private static RunDirectory MakeEncodingFolder()
    {
        var folder = RunDirectory.Create();
        ProcessEnd.Do(folder.Dispose);
        return folder;
    }

    /// <summary>
    /// Makes a call. When the cluster is disposed under it, it ends with that and not with what follows from it; at the
    /// process's end, it does not.
    /// </summary>
    private async Task<T> CallAsync<T>(Func<CancellationToken, Task<T>> call, CancellationToken cancellation)
    {
        ObjectDisposedException.ThrowIf(_isDisposed != 0, this);
        var ended = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _calls.TryAdd(ended.Task, true);
        try
        {
            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellation, _disposing.Token);
            return await call(either.Token).ConfigureAwait(false);
        }
        catch (Exception) when (ProcessEnd.HasBegun)
        {
            await ProcessEnd.StayAsync().ConfigureAwait(false);
            throw;
        }
        catch (Exception e) when (_isDisposed != 0 && !cancellation.IsCancellationRequested && e is OperationCanceledException or ObjectDisposedException or ClusterException or RpcException or IOException)
        {
            throw new ObjectDisposedException($"The {nameof(TrainingCluster)} at {Address} was disposed while it was used, expected it to live until all calls have returned.", e);
        }
        finally
        {
            _calls.TryRemove(ended.Task, out _);
            ended.SetResult();
        }
    }

    // The folder is the user's, and others may read what is in it.
    private static string NewPrivateFile(string path)
    {
        try
        {
            PrivateFile.Open(path, FileMode.CreateNew).Dispose();
            return path;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new IOException($"MLContext.TempFilePath is \"{Path.GetDirectoryName(path)}\", where rows cannot be encoded ({e.Message.TrimEnd('.')}), expected a folder that is there and can be written. Make it, or name another.", e);
        }
    }

    private string EncodingFolder()
    {
        _encoding.Value.Restore();
        return _encoding.Value.Path;
    }

    private Task ReadyAsync(CancellationToken cancellation) =>
        _local is null ? Task.CompletedTask
        : _local.Failure is { } failure ? Task.FromException(failure)
        : _local.Ready.WaitAsync(cancellation);

    /// <summary>Fit is synchronous; on the thread pool it cannot wait for the caller's synchronization context.</summary>
    private static T Block<T>(Func<Task<T>> work) => Task.Run(work).GetAwaiter().GetResult();
}
