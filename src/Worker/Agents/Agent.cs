using System.Reflection;
using MLDistributed.Protocol;
using MLDistributed.Worker.Attempts;
using MLDistributed.Worker.Connections;

namespace MLDistributed.Worker.Agents;

/// <summary>Takes the coordinator's commands and keeps the attempts. Its state is touched on the mailbox only.</summary>
internal sealed class Agent(AgentServices services, WorkFolder work, Func<IReadOnlyList<Device>> listDevices) : ILinkOwner
{
    private static readonly string s_build = typeof(Agent).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "";

    private readonly Dictionary<OpaqueId, AttemptRunner> _attempts = [];
    private string _sharedStore = "";
    private bool _isLeaving;

    public Task<Hello> CreateHelloAsync() => services.Mailbox.AskAsync(() =>
    {
        var hello = new Hello { Host = services.Host, ProtocolVersion = ProtocolVersion.Current, Build = s_build, Network = services.Network?.Look() };
        hello.Devices.AddRange(WithFaults(listDevices()));
        hello.RunningAttempts.AddRange(_attempts.Keys.Select(id => id.Text).Union(services.Outbox.UnreportedEnds(), StringComparer.Ordinal));
        return hello;
    });

    /// <summary>Made on the mailbox, so that heartbeats prove that the mailbox is alive.</summary>
    public Task<Heartbeat> CreateHeartbeatAsync()
    {
        var (devices, network) = (listDevices(), services.Network?.Look());
        return services.Mailbox.AskAsync(() => new Heartbeat { Devices = { WithFaults(devices) }, Network = network });
    }

    /// <summary>Tells the coordinator at once. On the mailbox.</summary>
    public void OnFaultsChanged() => services.Outbox.Post(new WorkerMessage { Heartbeat = new Heartbeat { Devices = { WithFaults(services.Devices) }, Network = services.Network?.Look() } });

    public void OnCommand(WorkerCommand command) => services.Mailbox.Post(() =>
    {
        switch (command.CommandCase)
        {
            case WorkerCommand.CommandOneofCase.Welcome:
                _sharedStore = command.Welcome.SharedStore;
                foreach (var attempt in _attempts.Values)
                    attempt.OnConnected();
                break;
            case WorkerCommand.CommandOneofCase.StartAttempt:
                Start(command.StartAttempt);
                break;
            case WorkerCommand.CommandOneofCase.StopAttempt:
                Stop(command.StopAttempt);
                break;
            case WorkerCommand.CommandOneofCase.BeginAttempt:
                Find(command.BeginAttempt.AttemptId)?.Begin();
                break;
            case WorkerCommand.CommandOneofCase.Gathered:
                Find(command.Gathered.AttemptId)?.Take(command.Gathered);
                break;
            case WorkerCommand.CommandOneofCase.DataOffer:
                Find(command.DataOffer.AttemptId)?.Take(command.DataOffer);
                break;
            case WorkerCommand.CommandOneofCase.Abort:
                Find(command.Abort.AttemptId)?.Take(command.Abort);
                break;
        }
    });

    /// <summary>Ends all attempts, because the agent leaves. On the mailbox.</summary>
    public async Task AbandonAsync()
    {
        RefuseMore();
        foreach (var attempt in _attempts.Keys)
            ReportFailure(attempt.Text, FailureKind.WorkerLost, $"Worker \"{services.Host}\" was told to leave while it ran the attempt.", isLeaving: true);
        await Task.WhenAll(_attempts.Values.Select(a => a.AbandonAsync())).ConfigureAwait(false);
    }

    /// <summary>Takes no more attempts, and completes when those that run have a new checkpoint in the store. On the mailbox.</summary>
    public Task StoreCheckpointsAsync()
    {
        RefuseMore();
        return Task.WhenAll(_attempts.Values.Select(a => a.StoreCheckpointAsync()));
    }

    // First, or the coordinator places the next attempts here, where they are lost.
    private void RefuseMore()
    {
        _isLeaving = true;
        OnFaultsChanged();
    }

    private IEnumerable<Device> WithFaults(IReadOnlyList<Device> devices) =>
        _isLeaving ? devices.Select(d => new Device(d) { Fault = "its worker leaves" })
        : devices.Select(d => d.Slot < services.Pool.Count && services.Pool.FaultOf(d.Slot) is { Length: > 0 } fault ? new Device(d) { Fault = fault } : d);

    private void Start(StartAttempt start)
    {
        // Told twice, or told again after an end that is on its way.
        if (Find(start.AttemptId) is not null || services.Outbox.UnreportedEnds().Contains(start.AttemptId))
            return;
        if (!OpaqueId.TryParse(start.AttemptId, out var id) || !OpaqueId.TryParse(start.JobId, out var jobId))
        {
            ReportFailure(start.AttemptId, FailureKind.WorkerLost, $"Attempt id is \"{VisibleText.Shortened(start.AttemptId)}\" of job \"{VisibleText.Shortened(start.JobId)}\", expected {OpaqueId.Expectation}.");
            return;
        }

        if (FindFault(start) is { } fault)
        {
            ReportFailure(start.AttemptId, FailureKind.WorkerLost, fault);
            return;
        }

        try
        {
            var runner = new AttemptRunner(start, jobId, work.CreateAttempt(id, start.Participants.Count > 0 ? start.Participant : null), services, _ => _attempts.Remove(id));
            _attempts.Add(id, runner);
            runner.Start(_sharedStore);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            ReportFailure(start.AttemptId, FailureKind.WorkerLost, $"Worker \"{services.Host}\" cannot run the attempt: {DiskSpace.Explain("Its folder", work.Path, e)}");
        }
    }

    private void Stop(StopAttempt stop)
    {
        if (Find(stop.AttemptId) is { } attempt)
            attempt.Stop(stop);
        else if (!services.Outbox.UnreportedEnds().Contains(stop.AttemptId))
            services.Outbox.Post(new WorkerMessage { AttemptEnded = new AttemptEnded { AttemptId = stop.AttemptId, Stopped = new Stopped() } });
    }

    private string? FindFault(StartAttempt start)
    {
        if (start.Slots.Count == 0 || start.Slots.Distinct().Count() != start.Slots.Count || start.Slots.Any(s => s < 0 || s >= services.Pool.Count))
            return $"Attempt \"{start.AttemptId}\" is placed on slots [{string.Join(", ", start.Slots)}], expected different ones of 0 to {services.Pool.Count - 1}.";
        if (AttemptPlace.Fault(start) is { } misplaced)
            return misplaced;
        if (start.Participants.Count > 0 && (services.Network is null ? "it was started without --network" : services.Network.Look().Fault) is { Length: > 0 } apart)
            return $"Worker \"{services.Host}\" was given a part of attempt \"{start.AttemptId}\", but its ranks meet no others: {apart}.";
        return start.Slots.FirstOrDefault(s => !services.Pool.IsFree(s), -1) is var busy and >= 0
            ? $"Slot {busy} of worker \"{services.Host}\" is taken by another attempt, expected a free one."
            : null;
    }

    private AttemptRunner? Find(string attemptId) => OpaqueId.TryParse(attemptId, out var id) ? _attempts.GetValueOrDefault(id) : null;

    private void ReportFailure(string attemptId, FailureKind kind, string message, bool isLeaving = false) => services.Outbox.Post(new WorkerMessage
    {
        AttemptEnded = new AttemptEnded { AttemptId = attemptId, IsLeaving = isLeaving, Failure = new JobFailure { Kind = kind, Message = message, Rank = -1, Host = services.Host } },
    });
}
