using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training.Commits;
using MLDistributed.Training.Native;
using MLDistributed.Worker.Agents;
using MLDistributed.Worker.Connections;
using MLDistributed.Worker.Peers;
using MLDistributed.Worker.Ranks;
using MLDistributed.Worker.Transfers;

namespace MLDistributed.Worker.Attempts;

/// <summary>Does what <see cref="AttemptState"/> decides. Lives on the mailbox; transfers run beside it.</summary>
internal sealed class AttemptRunner : IRankObserver
{
    private static readonly TimeSpan StopTimeout = TimeSpan.FromSeconds(1.5);
    private static readonly TimeSpan CheckpointTimeout = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan FetchReportInterval = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan LastWordsTime = TimeSpan.FromMilliseconds(200);
    private const int MaxErrorLines = 100;

    private readonly AgentServices _services;
    private readonly StartAttempt _start;
    private readonly OpaqueId _jobId;
    private readonly AttemptFiles _files;
    private readonly AttemptPlace _place;
    private readonly AttemptState _state;
    private readonly Action<AttemptRunner> _onEnded;
    private readonly CheckpointUploader _checkpoints;
    private readonly CancellationTokenSource _ended = new();
    private readonly TaskCompletionSource _reported = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<ContentHash> _datasets = [];
    private readonly List<Task> _work = [];
    private readonly DataPeers? _peers;
    private readonly AgentRendezvous _agents;
    private string _datasetPath = "";
    private string _validationPath = "";
    private readonly Lock _fetchGate = new(); // parts come from several at once
    private long? _lastFetchReport;
    private int _errorLines;
    private CommitFile? _commits;
    private readonly long _commitStep;
    private bool _jobGoesOn;
    private bool _ranksRan;
    private int? _firstFailed;
    private long _lastStep;

    public AttemptRunner(StartAttempt start, OpaqueId jobId, AttemptFiles files, AgentServices services, Action<AttemptRunner> onEnded)
    {
        _start = start;
        _jobId = jobId;
        _files = files;
        _services = services;
        _onEnded = onEnded;
        _place = AttemptPlace.Of(start);
        _state = new AttemptState(start.AttemptId, _place, start.Slots.Count);
        _commits = TakeCommits();
        _commitStep = CommitRules.Resumed(NewestCommit, start.ResumeStep);
        _peers = _place.IsShared && services.Network is { } network
            ? new DataPeers(start, network, offer => services.Outbox.Post(new WorkerMessage { DataOffer = offer }), Say, services.Time, services.Log)
            : null;
        _agents = new AgentRendezvous(start.AttemptId, services.Outbox);
        _checkpoints = new CheckpointUploader(services.Blobs, services.Outbox, services.Log, _ended.Token);
    }

    public string AttemptId => _start.AttemptId;

    public void Start(string sharedStore)
    {
        _services.Log.AttemptStarts(AttemptId, string.Join(", ", _start.Slots));
        // Of several workers another may have a newer one: rank 0 says what all go on from.
        if (_commitStep > 0 && !_place.IsShared)
            Say(LogLevel.Info, $"goes on from step {_commitStep}, which it has in memory");
        _work.Add(PrepareAsync(sharedStore));
        foreach (var slot in _start.Slots)
        {
            _services.Pool.Attach(slot, this);
            if (_services.Pool.IsReady(slot))
                OnReady(slot);
        }
    }

    /// <summary>The coordinator wants no more of it.</summary>
    public void Stop(StopAttempt stop)
    {
        _jobGoesOn = stop.JobGoesOn;
        Apply(new AttemptInput.StopRequested(stop.Reason));
    }

    /// <summary>
    /// The agent leaves soon: asks for a checkpoint, and completes when it is stored or the attempt has ended. A worker
    /// without rank 0 can only stay for the one that has it, which leaves too where an allocation ends.
    /// </summary>
    public Task StoreCheckpointAsync()
    {
        if (_place.IsFirst)
            _services.Pool.Send(_start.Slots[0], new RankCommand { Checkpoint = new RankCheckpointNow { AttemptId = AttemptId } });
        return Task.WhenAny(_checkpoints.Next, _reported.Task);
    }

    /// <summary>All workers of the attempt are ready.</summary>
    public void Begin()
    {
        _work.Add(ClosePeersAsync()); // all have the data, and its port is the ranks' now
        Apply(new AttemptInput.Begun());
    }

    /// <summary>Another worker of the attempt gives its data.</summary>
    public void Take(DataOffer offer) => _peers?.Take(offer);

    /// <summary>To whoever speaks for this worker, of those of the others: this agent, and later its first rank.</summary>
    public void Take(Gathered gathered)
    {
        if (_ranksRan)
            _services.Pool.Send(_start.Slots[0], new RankCommand { Gathered = gathered });
        else
            _agents.Take(gathered);
    }

    /// <summary>The same.</summary>
    public void Take(Abort abort)
    {
        if (_ranksRan)
            _services.Pool.Send(_start.Slots[0], new RankCommand { Abort = abort });
        else
            _agents.Take(abort);
    }

    /// <summary>There is a connection again: the coordinator may be another, which does not know.</summary>
    public void OnConnected()
    {
        if (_state.IsReady)
            Do(new AttemptAction.ReportReady());
        if (_state.HasStarted)
            Do(new AttemptAction.ReportStarted());
    }

    public void Apply(AttemptInput input)
    {
        foreach (var action in _state.Apply(input))
            Do(action);
    }

    /// <summary>The agent leaves: no report, and the ranks die with it.</summary>
    public async Task AbandonAsync()
    {
        // First: a rank may still end meanwhile, and nobody asks what it left.
        _commits?.Dispose();
        _commits = null;
        await _ended.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(_work).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await ClosePeersAsync().ConfigureAwait(false);
        _files.Delete();
    }

    public void OnReady(int slot) => Apply(new AttemptInput.RankReady(RankOf(slot)));

    public void OnExit(int slot, RankExit exit)
    {
        _firstFailed ??= NumberOf(slot);
        Apply(new AttemptInput.RankExited(RankOf(slot), CrashReport.Describe(NumberOf(slot), _services.Host, exit, _commits?.StepOf(RankOf(slot)) ?? _lastStep, _start.Spec.Module?.Torch is { IsScript: true } torch ? torch.Type : null)));
    }

    public void OnErrorLine(int slot, string line)
    {
        if (_errorLines++ < MaxErrorLines)
            Report(new AttemptEvent { Log = new LogLine { Level = NativeMessage.IsStack(line) ? LogLevel.Trace : LogLevel.Warning, Source = $"rank {NumberOf(slot)}", Message = line } });
    }

    public void OnEvent(int slot, RankEvent message)
    {
        var rank = RankOf(slot);
        switch (message.EventCase)
        {
            case RankEvent.EventOneofCase.Started when IsOurs(message.Started.AttemptId):
                Apply(new AttemptInput.RankStarted(rank));
                break;
            case RankEvent.EventOneofCase.Finished when IsOurs(message.Finished.AttemptId) && message.Finished.Files.Values.FirstOrDefault(f => !_files.IsOutput(f)) is { } foreign:
                Apply(new AttemptInput.RankFailed(rank, Failure(FailureKind.Crashed, $"Rank {NumberOf(slot)} named \"{VisibleText.Shortened(foreign)}\" as a result, expected a file in its output folder."), IsBystander: false));
                break;
            case RankEvent.EventOneofCase.Finished when IsOurs(message.Finished.AttemptId):
                Apply(new AttemptInput.RankFinished(rank, message.Finished.Result, message.Finished.Files));
                break;
            case RankEvent.EventOneofCase.Failed when IsOurs(message.Failed.AttemptId):
                var failure = message.Failed.Failure;
                if (failure.Host.Length == 0)
                    failure.Host = _services.Host;
                _firstFailed ??= NumberOf(slot);
                Apply(new AttemptInput.RankFailed(rank, failure, message.Failed.IsBystander));
                break;
            case RankEvent.EventOneofCase.Stopped when IsOurs(message.Stopped.AttemptId):
                Apply(new AttemptInput.RankStopped(rank));
                break;
            case RankEvent.EventOneofCase.Checkpoint when IsOurs(message.Checkpoint.AttemptId) && _files.IsOutput(message.Checkpoint.Path):
                _checkpoints.Add(message.Checkpoint);
                break;
            case RankEvent.EventOneofCase.Gather when IsOurs(message.Gather.AttemptId) && IsSpeaker(rank):
                _services.Outbox.Post(new WorkerMessage { Gather = message.Gather });
                break;
            case RankEvent.EventOneofCase.Abort when IsOurs(message.Abort.AttemptId) && IsSpeaker(rank):
                _services.Outbox.Post(new WorkerMessage { Abort = message.Abort });
                break;
            case RankEvent.EventOneofCase.Unheard when IsOurs(message.Unheard.AttemptId) && IsSpeaker(rank):
                _services.Outbox.Post(new WorkerMessage { Unheard = message.Unheard });
                break;
            case RankEvent.EventOneofCase.Progress:
                // Where there is no memory to say it exactly in: rank 0 speaks for all.
                _lastStep = message.Progress.Step;
                Report(new AttemptEvent { Progress = message.Progress });
                break;
            case RankEvent.EventOneofCase.Epoch:
                Report(new AttemptEvent { Epoch = message.Epoch });
                break;
            case RankEvent.EventOneofCase.Log:
                if (message.Log.Source.Length == 0)
                    message.Log.Source = $"rank {NumberOf(slot)}";
                Report(new AttemptEvent { Log = message.Log });
                break;
        }
    }

    // What an attempt that goes on has instead is newer.
    private StartingModel? StartingModel => _start.ResumeFrom is null && _commitStep == 0 ? _start.Spec.StartFrom : null;

    private long NewestCommit => _commits?.NewestStep() ?? 0;

    private bool IsOurs(string attemptId) => attemptId == AttemptId;

    // Here, and of all in the attempt.
    private int RankOf(int slot) => _start.Slots.IndexOf(slot);

    private int NumberOf(int slot) => _place.FirstRank + RankOf(slot);

    private bool IsSpeaker(int rank) => _place.IsShared && rank == 0;

    private void Report(AttemptEvent message)
    {
        message.AttemptId = AttemptId;
        _services.Outbox.Post(new WorkerMessage { AttemptEvent = message });
    }

    private void Say(LogLevel level, string message) =>
        Report(new AttemptEvent { Log = new LogLine { Level = level, Source = $"worker {_services.Host}", Message = message } });

    private async Task ClosePeersAsync()
    {
        if (_peers is not null)
            await _peers.DisposeAsync().ConfigureAwait(false);
    }

    private void Do(AttemptAction action)
    {
        switch (action)
        {
            case AttemptAction.ReportReady:
                _services.Outbox.Post(new WorkerMessage { AttemptReady = new AttemptReady { AttemptId = AttemptId } });
                break;
            case AttemptAction.StartRanks:
                _ranksRan = true;
                for (var rank = 0; rank < _start.Slots.Count; rank++)
                    _services.Pool.Send(_start.Slots[rank], new RankCommand { Start = CreateStart(rank) });
                break;
            case AttemptAction.ReportStarted:
                _services.Outbox.Post(new WorkerMessage { AttemptStarted = new AttemptStarted { AttemptId = AttemptId } });
                break;
            case AttemptAction.StopRanks stop:
                // At once, whatever becomes of these ranks: the others would wait for them.
                if (_place.IsShared)
                    _services.Outbox.Post(new WorkerMessage { Abort = new Abort { AttemptId = AttemptId, Rank = _firstFailed ?? _place.FirstRank } });
                foreach (var rank in stop.Ranks)
                    _services.Pool.Send(_start.Slots[rank], new RankCommand { Stop = new RankStop { AttemptId = AttemptId, Reason = stop.Reason } });
                _ = DeadlineAsync();
                break;
            case AttemptAction.KillRanks kill:
                foreach (var rank in kill.Ranks)
                    _services.Pool.Replace(_start.Slots[rank]);
                break;
            case AttemptAction.Upload upload:
                _work.Add(UploadAsync(upload));
                break;
            case AttemptAction.End end:
                _ = EndAsync(end.Report);
                break;
        }
    }

    private RankStart CreateStart(int rank)
    {
        var device = _services.Devices[_start.Slots[rank]];
        var network = _place.IsShared ? _services.Network!.Look() : new Network();
        return new RankStart
        {
            AttemptId = AttemptId,
            Spec = _start.Spec,
            Rank = _place.FirstRank + rank,
            WorldSize = _place.WorldSize,
            Device = device.Kind,
            DeviceIndex = device.Index,
            SegmentPath = _files.SegmentPath,
            DatasetPath = _datasetPath,
            ValidationDatasetPath = _validationPath,
            OutputFolder = _files.OutputFolder,
            ResumePath = _start.ResumeFrom is null || _commitStep > 0 ? "" : _files.ResumePath,
            CommitPath = _commits?.Path ?? "",
            CommitStep = _commitStep,
            StartingModelPath = StartingModel is null ? "" : _files.StartingModelPath,
            StartingWeightsPath = _start.Spec.StartingWeights is null ? "" : _files.StartingWeightsPath,
            CodePath = _start.Spec.Module?.Torch is null ? "" : _files.CodePath,
            Participants = { _start.Participants },
            NetworkInterface = network.Interface,
            NetworkAddress = network.Address,
            FirstNetworkPort = _services.Network?.Ports.First ?? 0,
            LastNetworkPort = _services.Network?.Ports.Last ?? 0,
            FirstRound = _agents.NextRound,
        };
    }

    private async Task PrepareAsync(string sharedStore)
    {
        // Off the mailbox before anything touches a disk.
        await Task.Yield();
        AttemptInput outcome;
        var lost = FailureKind.DatasetLost;
        try
        {
            // First: what hosts that do not reach one another fetch is of no use.
            if (_place.IsShared)
                await Task.Factory.StartNew(() => _services.CheckPeers(CreateStart(rank: 0), _agents, _ended.Token), _ended.Token, TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
            Directory.CreateDirectory(_files.OutputFolder);
            _datasetPath = await AcquireAsync(_start.Spec.Data.Dataset, sharedStore).ConfigureAwait(false);
            if (_start.Spec.Data.ValidationDataset is { } validation)
                _validationPath = await AcquireAsync(validation, sharedStore).ConfigureAwait(false);
            if (StartingModel is { } model)
                await FetchAsync("The model to start from", model.Hash, _files.StartingModelPath).ConfigureAwait(false);
            // An attempt that goes on too: what keeps its first values is in no checkpoint.
            if (_start.Spec.StartingWeights is { } weights)
                await FetchAsync("Starting weights", weights.Hash, _files.StartingWeightsPath).ConfigureAwait(false);
            if (_start.Spec.Module?.Torch is { } module)
                await FetchAsync("Code package", module.Package, _files.CodePath).ConfigureAwait(false);
            lost = FailureKind.CheckpointDamaged;
            if (_start.ResumeFrom is { } checkpoint && _commitStep == 0)
                await FetchAsync("Checkpoint", checkpoint.Hash, _files.ResumePath).ConfigureAwait(false);
            outcome = new AttemptInput.FilesReady();
        }
        catch (CollectiveException e)
        {
            // Whom it counts against, if not this worker itself, the coordinator decides by what all say.
            outcome = new AttemptInput.FilesFailed(Failure(FailureKind.WorkerLost, e.Message), IsBystander: e is not HostNetworkException);
        }
        catch (TransferException e)
        {
            outcome = new AttemptInput.FilesFailed(Failure(e.IsLost || lost == FailureKind.CheckpointDamaged ? lost : FailureKind.Invalid, e.Message));
        }
        catch (FormatException e)
        {
            outcome = new AttemptInput.FilesFailed(Failure(FailureKind.Invalid, $"The job names a file by what is no id: {e.Message}"));
        }
        catch (Exception e) when (!_ended.IsCancellationRequested)
        {
            outcome = new AttemptInput.FilesFailed(Failure(FailureKind.WorkerLost, $"Worker \"{_services.Host}\" could not fetch the files of the job: {e.Message}"));
        }

        _services.Mailbox.Post(() => Apply(outcome));
    }

    private async Task<string> AcquireAsync(ContentHash id, string sharedStore)
    {
        _datasets.Add(id);
        return await _services.Datasets.AcquireAsync(id, sharedStore, OnFetched, _peers, _ended.Token).ConfigureAwait(false);
    }

    private void OnFetched(long bytes, long total) => OnTransfer("fetches the data", bytes, total);

    // Also the sign by which the coordinator knows that the attempt gets on.
    private void OnTransfer(string what, long bytes, long total)
    {
        var now = _services.Time.GetTimestamp();
        bool isFirst;
        lock (_fetchGate)
        {
            if (_lastFetchReport is { } last && _services.Time.GetElapsedTime(last, now) < FetchReportInterval)
                return;
            isFirst = _lastFetchReport is null;
            _lastFetchReport = now;
        }

        if (!isFirst)
            Say(LogLevel.Info, $"{what}: {DiskSpace.Words(bytes)} of {DiskSpace.Words(total)}");
    }

    private async Task FetchAsync(string what, ContentHash id, string path)
    {
        for (var isDoubted = false; ; isDoubted = true)
        {
            await _services.Blobs.DownloadAsync(id, BlobKind.Artifact, path, OnFetched, _ended.Token, isDoubted).ConfigureAwait(false);
            var found = await ContentHash.OfFileAsync(path, _ended.Token).ConfigureAwait(false);
            if (found == id)
                return;
            File.Delete(path);
            if (isDoubted)
                throw new TransferException($"{what} \"{id}\" came with the content of \"{found}\", expected that of its id.");
        }
    }

    private async Task UploadAsync(AttemptAction.Upload upload)
    {
        await Task.Yield();
        AttemptInput outcome;
        try
        {
            foreach (var (name, path) in upload.Files)
                upload.Result.Artifacts[name] = await _services.Blobs.UploadAsync(path, (bytes, total) => OnTransfer("stores the results", bytes, total), _ended.Token).ConfigureAwait(false);
            outcome = new AttemptInput.Uploaded(upload.Result);
        }
        catch (Exception e) when (!_ended.IsCancellationRequested)
        {
            outcome = new AttemptInput.UploadFailed(Failure(e is TransferException ? FailureKind.Invalid : FailureKind.WorkerLost, $"The results on \"{_services.Host}\" could not be stored: {e.Message}"));
        }

        _services.Mailbox.Post(() => Apply(outcome));
    }

    private CommitFile? TakeCommits()
    {
        try
        {
            return _services.Commits.Take(_jobId);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Say(LogLevel.Warning, $"The state cannot be kept in memory ({e.Message.TrimEnd('.')}), expected room in {AttemptFiles.SegmentFolder}. A failure goes back to the last checkpoint.");
            return null;
        }
    }

    // Told with the failure: who makes steps that stay is not to be given up.
    private void LeaveCommits(AttemptEnded report)
    {
        if (_commits is null)
            return;
        if (!CommitRules.IsKept(report, _jobGoesOn))
        {
            _commits.Dispose();
            return;
        }

        if (report.Failure is { } failure)
            failure.KeptStep = NewestCommit;
        else
            report.Stopped.KeptStep = NewestCommit;
        _services.Commits.Keep(_jobId, _commits);
    }

    private JobFailure Failure(FailureKind kind, string message) => new() { Kind = kind, Message = message, Rank = -1, Host = _services.Host };

    private async Task DeadlineAsync()
    {
        await Task.Delay(StopTimeout, _services.Time).ConfigureAwait(false);
        _services.Mailbox.Post(() => Apply(new AttemptInput.StopDeadline()));
    }

    private async Task EndAsync(AttemptEnded report)
    {
        if (CommitRules.AwaitsCheckpoint(report, _jobGoesOn, NewestCommit, _checkpoints.StepOnItsWay))
            await Task.WhenAny(_checkpoints.CompleteAsync(), Task.Delay(CheckpointTimeout, _services.Time)).ConfigureAwait(false);
        await _ended.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll([.. _work, _checkpoints.CompleteAsync()]).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await ClosePeersAsync().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing); // whatever it throws, the end is told
        // The last words of its ranks to those of other workers may be on their way.
        if (report.Finished is not null)
            await Task.Delay(LastWordsTime, _services.Time).ConfigureAwait(false);
        foreach (var id in _datasets)
            _services.Datasets.Release(id);
        _files.Delete();
        // Last, and in this order: with the report the coordinator may give the slots away again.
        _services.Mailbox.Post(() =>
        {
            foreach (var slot in _start.Slots)
            {
                _services.Pool.Detach(slot);
                // No other job runs where code of this one has.
                if (_start.Spec.Module?.Torch is not null)
                    _services.Pool.Replace(slot);
            }

            // A process is in one MPI world in its life, and does not leave it: it is ended.
            if (_place.IsShared && _ranksRan)
                _services.Pool.Renew(_start.Slots[0]);
            _onEnded(this);
            LeaveCommits(report);
            _services.Log.AttemptEnded(AttemptId, report.Failure?.Message ?? report.OutcomeCase.ToString());
            _services.Outbox.Post(new WorkerMessage { AttemptEnded = report });
            _reported.SetResult();
        });
    }
}
