namespace MLDistributed.Coordinator.Tests.Support;

/// <summary>A worker whose every word a test speaks.</summary>
internal sealed class FakeWorker : IDisposable
{
    private readonly AsyncDuplexStreamingCall<WorkerMessage, WorkerCommand> _call;

    private readonly Hello _hello;

    private FakeWorker(AsyncDuplexStreamingCall<WorkerMessage, WorkerCommand> call, Hello hello) => (_call, _hello) = (call, hello);

    public Welcome Welcome { get; private set; } = new();

    public static async Task<FakeWorker> ConnectAsync(TestCoordinator coordinator, string id = "w1", int slots = 2, params string[] running) =>
        await ConnectAsync(coordinator.Connect().Invoker, id, slots, running);

    public static Task<FakeWorker> ConnectAsync(CallInvoker invoker, string id, int slots, params string[] running) => ConnectAsync(invoker, id, slots, running, network: null, gpu: null);

    private static async Task<FakeWorker> ConnectAsync(CallInvoker invoker, string id, int slots, string[] running, Network? network, string? gpu)
    {
        var hello = new Hello { WorkerId = id, Host = "host-" + id, ProtocolVersion = ProtocolVersion.Current, RunningAttempts = { running }, Build = "1", Network = network };
        hello.Devices.AddRange(Enumerable.Range(0, slots).Select(s => new Device { Slot = s, Index = s, Kind = gpu is null ? DeviceKind.Cpu : DeviceKind.Cuda, Name = gpu ?? "core" }));
        var worker = new FakeWorker(new Protocol.Workers.WorkersClient(invoker).Connect(), hello);
        await worker._call.RequestStream.WriteAsync(new WorkerMessage { Hello = hello }).Within();
        worker.Welcome = (await worker.NextAsync()).Welcome;
        return worker;
    }

    public async Task<StartAttempt> ExpectStartAsync() =>
        (await NextAsync()).StartAttempt ?? throw new AssertFailedException("The command is no StartAttempt.");

    public async Task<StopAttempt> ExpectStopAsync() =>
        (await NextAsync()).StopAttempt ?? throw new AssertFailedException("The command is no StopAttempt.");

    /// <summary>How the coordinator ended the stream.</summary>
    public Task<RpcException> RefusedAsync(StatusCode code) => _call.ResponseStream.MoveNext(CancellationToken.None).Fails(code);

    /// <summary>One whose ranks meet those of others.</summary>
    public static Task<FakeWorker> ConnectToMeetAsync(TestCoordinator coordinator, string id, int slots = 2, params string[] running) =>
        ConnectAsync(coordinator.Connect().Invoker, id, slots, running, new Network { Interface = "eth0", Address = "10.0.0.1", Mpi = "MPICH 4" }, gpu: null);

    /// <summary>The same with GPUs of a model.</summary>
    public static Task<FakeWorker> ConnectToMeetAsync(TestCoordinator coordinator, string id, string gpu) =>
        ConnectAsync(coordinator.Connect().Invoker, id, 2, [], new Network { Interface = "eth0", Address = "10.0.0.1", Mpi = "MPICH 4", Nccl = "2.27.5" }, gpu);

    public async Task<BeginAttempt> ExpectBeginAsync() =>
        (await NextAsync()).BeginAttempt ?? throw new AssertFailedException("The command is no BeginAttempt.");

    public async Task<Gathered> ExpectGatheredAsync() =>
        (await NextAsync()).Gathered ?? throw new AssertFailedException("The command is no Gathered.");

    public async Task<Abort> ExpectAbortAsync() =>
        (await NextAsync()).Abort ?? throw new AssertFailedException("The command is no Abort.");

    public async Task<DataOffer> ExpectOfferAsync() =>
        (await NextAsync()).DataOffer ?? throw new AssertFailedException("The command is no DataOffer.");

    public Task OfferAsync(DataOffer offer) => SendAsync(new WorkerMessage { DataOffer = offer });

    public Task ReadyAsync(StartAttempt attempt) => SendAsync(new WorkerMessage { AttemptReady = new AttemptReady { AttemptId = attempt.AttemptId } });

    public Task GatherAsync(StartAttempt attempt, int round, string text) =>
        SendAsync(new WorkerMessage { Gather = new Gather { AttemptId = attempt.AttemptId, Round = round, Text = Google.Protobuf.ByteString.CopyFromUtf8(text) } });

    public Task AbortAsync(StartAttempt attempt, int rank) => SendAsync(new WorkerMessage { Abort = new Abort { AttemptId = attempt.AttemptId, Rank = rank } });

    /// <summary>Does not hear some of the others.</summary>
    public Task DoesNotHearAsync(StartAttempt attempt, bool isLost, params int[] participants) => SendAsync(new WorkerMessage
    {
        Unheard = new Unheard { AttemptId = attempt.AttemptId, IsLost = isLost, Workers = { participants.Select(p => new UnheardWorker { Participant = p, Seconds = 5, Address = "10.0.0.1:7300" }) } },
    });

    public Task FinishAsync(StartAttempt attempt) => SendAsync(new WorkerMessage { AttemptEnded = new AttemptEnded { AttemptId = attempt.AttemptId, Finished = new Finished() } });

    public Task FailAsBystanderAsync(StartAttempt attempt, string message) => SendAsync(new WorkerMessage
    {
        AttemptEnded = new AttemptEnded { AttemptId = attempt.AttemptId, IsBystander = true, Failure = new JobFailure { Kind = FailureKind.Crashed, Message = message } },
    });

    /// <summary>Its network is gone.</summary>
    public Task CutAsync(string fault)
    {
        _hello.Network.Fault = fault;
        return SendAsync(new WorkerMessage { Heartbeat = new Heartbeat { Devices = { _hello.Devices.Clone() }, Network = _hello.Network.Clone() } });
    }

    /// <summary>Sends a heartbeat and returns when the coordinator has taken it: a device's new load shows in the cluster.</summary>
    public async Task BeatAsync(TestCoordinator coordinator)
    {
        foreach (var device in _hello.Devices)
            device.MemoryUsedBytes++;
        await SendAsync(new WorkerMessage { Heartbeat = new Heartbeat { Devices = { _hello.Devices.Clone() }, Network = _hello.Network?.Clone() } });
        await Eventually.UntilAsync(
            coordinator,
            () => coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within(),
            c => c.Workers.Any(w => w.Id == _hello.WorkerId && w.Devices.SequenceEqual(_hello.Devices)));
    }

    /// <summary>Tells that no rank can run in its slots any more, and why.</summary>
    public Task BreakAsync(string fault)
    {
        foreach (var device in _hello.Devices)
            device.Fault = fault;
        return SendAsync(new WorkerMessage { Heartbeat = new Heartbeat { Devices = { _hello.Devices.Clone() } } });
    }

    public Task StartedAsync(StartAttempt attempt) => SendAsync(new WorkerMessage { AttemptStarted = new AttemptStarted { AttemptId = attempt.AttemptId } });

    public Task ProgressAsync(StartAttempt attempt, long step) =>
        SendAsync(new WorkerMessage { AttemptEvent = new AttemptEvent { AttemptId = attempt.AttemptId, Progress = new Progress { Step = step } } });

    public Task LogAsync(StartAttempt attempt, string message) =>
        SendAsync(new WorkerMessage { AttemptEvent = new AttemptEvent { AttemptId = attempt.AttemptId, Log = new LogLine { Message = message } } });

    public Task EpochAsync(StartAttempt attempt, int epoch) =>
        SendAsync(new WorkerMessage { AttemptEvent = new AttemptEvent { AttemptId = attempt.AttemptId, Epoch = new EpochEnded { Epoch = epoch } } });

    public Task CheckpointAsync(StartAttempt attempt, Artifact artifact, long step) =>
        SendAsync(new WorkerMessage { CheckpointSaved = new CheckpointSaved { AttemptId = attempt.AttemptId, Artifact = artifact, Step = step } });

    public Task StoppedAsync(string attemptId, long keptStep = 0) => SendAsync(new WorkerMessage { AttemptEnded = new AttemptEnded { AttemptId = attemptId, Stopped = new Stopped { KeptStep = keptStep } } });

    public Task SucceedAsync(StartAttempt attempt, params Artifact[] artifacts)
    {
        var result = new JobResult { WorldSize = attempt.Slots.Count, Epochs = 2 };
        foreach (var (artifact, index) in artifacts.Select((a, i) => (a, i)))
            result.Artifacts.Add($"file{index}", artifact);
        return SendAsync(new WorkerMessage { AttemptEnded = new AttemptEnded { AttemptId = attempt.AttemptId, Result = result } });
    }

    public Task FailAsync(StartAttempt attempt, FailureKind kind, long step = 0, string message = "Rank 1 was killed by signal 9.", long keptStep = 0) =>
        SendAsync(new WorkerMessage { AttemptEnded = new AttemptEnded { AttemptId = attempt.AttemptId, Failure = new JobFailure { Kind = kind, Message = message, Step = step, ExitCode = 137, KeptStep = keptStep } } });

    public Task SendAsync(WorkerMessage message)
    {
        if (message.SessionEpoch == 0)
            message.SessionEpoch = Welcome.SessionEpoch;
        return _call.RequestStream.WriteAsync(message).Within();
    }

    /// <summary>Breaks the connection without a word.</summary>
    public void Dispose() => _call.Dispose();

    private async Task<WorkerCommand> NextAsync()
    {
        Assert.IsTrue(await _call.ResponseStream.MoveNext(CancellationToken.None).Within(), "The coordinator closed the stream.");
        return _call.ResponseStream.Current;
    }
}
