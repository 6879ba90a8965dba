using MLDistributed.Protocol;
using MLDistributed.Worker.Agents;

namespace MLDistributed.Worker.Ranks;

/// <summary>Hears of one slot's process while an attempt uses it. On the mailbox.</summary>
internal interface IRankObserver
{
    void OnReady(int slot);

    void OnEvent(int slot, RankEvent message);

    void OnErrorLine(int slot, string line);

    void OnExit(int slot, RankExit exit);
}

/// <summary>One warm rank process a slot, replaced whenever it ends. All members but the constructor run on the mailbox.</summary>
internal sealed class RankPool
{
    private static readonly TimeSpan LoadTimeout = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan ExitTimeout = TimeSpan.FromSeconds(1);
    private const int MaxBackoffSeconds = 30;
    private const int MaxUnansweredPings = 5;
    private const int FailuresOfAFault = 2; // one may be an accident, as a machine short of memory

    private readonly RankCommandLine _commandLine;
    private readonly WorkFolder _work;
    private readonly RankEnvironment _environment;
    private readonly Mailbox _mailbox;
    private readonly TimeProvider _time;
    private readonly AgentLog _log;
    private readonly RankListener _listener;
    private readonly Slot[] _slots;
    private readonly TaskCompletionSource<RankReady?> _firstAnswer = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TimeSpan _pingInterval;
    private readonly CancellationTokenSource _ended = new();
    private bool _stopped;

    public RankPool(RankCommandLine commandLine, WorkFolder work, int slots, int cores, string? networkInterface, Mailbox mailbox, TimeSpan pingInterval, TimeProvider time, AgentLog log)
    {
        _commandLine = commandLine;
        _work = work;
        _environment = new RankEnvironment(cores, slots, networkInterface);
        _mailbox = mailbox;
        _pingInterval = pingInterval;
        _time = time;
        _log = log;
        _listener = new RankListener(work.SocketPath, time, GreetAsync);
        _slots = [.. Enumerable.Range(0, slots).Select(i => new Slot(i))];
    }

    /// <summary>What the first process to be ready said; null when one could not even load.</summary>
    public Task<RankReady?> FirstAnswer => _firstAnswer.Task;

    /// <summary>Heard when a slot's fault came or went.</summary>
    public Action? FaultsChanged { get; set; }

    public int Count => _slots.Length;

    public void Start()
    {
        foreach (var slot in _slots)
            Launch(slot);
        _ = PingAsync();
    }

    /// <summary>Why no rank can run in a slot; empty: one can.</summary>
    public string FaultOf(int slot) => _slots[slot].Fault;

    public bool IsReady(int slot) => _slots[slot].IsReady;

    public bool IsFree(int slot) => _slots[slot].Observer is null;

    public void Attach(int slot, IRankObserver observer) => _slots[slot].Observer = observer;

    public void Detach(int slot) => _slots[slot].Observer = null;

    public void Send(int slot, RankCommand command) => _slots[slot].Process?.Send(command);

    /// <summary>Ends the slot's process, tells nobody, and starts another.</summary>
    public void Replace(int slot)
    {
        _slots[slot].Process?.Kill();
        Relaunch(_slots[slot]);
    }

    /// <summary>Has another take the place of the slot's process, which has done its work.</summary>
    public void Renew(int slot)
    {
        if (_slots[slot].IsReady)
            Replace(slot);
    }

    /// <summary>Ends all processes; complete when they are gone.</summary>
    public async Task StopAsync()
    {
        _stopped = true;
        await _ended.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        var processes = _slots.Select(s => s.Process).OfType<RankProcess>().ToList();
        foreach (var process in processes)
            process.Kill();
        await Task.WhenAny(Task.WhenAll(processes.Select(p => p.Exit)), Task.Delay(ExitTimeout, _time)).ConfigureAwait(false);
    }

    private void Launch(Slot slot)
    {
        if (_stopped)
            return;
        slot.IsReady = false;
        _work.Restore();
        _listener.Restore();
        var process = slot.Process = RankProcess.Start(_commandLine, _work, slot.Index, _environment, OnErrorLine, _time);
        _ = WatchAsync(slot, process);
        _ = LimitLoadingAsync(slot, process);
    }

    // Starting a process fails where it did not before: no memory, no process ids. That passes.
    private void Relaunch(Slot slot)
    {
        try
        {
            Launch(slot);
        }
        catch (Exception e) when (e is AgentException or IOException or UnauthorizedAccessException)
        {
            slot.Process = null;
            FailedToLoad(slot, e.Message);
        }
    }

    private async Task WatchAsync(Slot slot, RankProcess process)
    {
        var exit = await process.Exit.ConfigureAwait(false);
        _mailbox.Post(() => OnExit(slot, process, exit));
    }

    private async Task LimitLoadingAsync(Slot slot, RankProcess process)
    {
        await Task.WhenAny(process.Exit, Task.Delay(LoadTimeout, _time)).ConfigureAwait(false);
        _mailbox.Post(() =>
        {
            if (slot.Process == process && !slot.IsReady)
                process.Kill($"did not load within {LoadTimeout.TotalSeconds:0} s and was killed");
        });
    }

    private async Task GreetAsync(RankReady ready, Stream stream, FrameReader reader)
    {
        var process = await _mailbox.AskAsync(() => OnReady(ready)).ConfigureAwait(false);
        if (process is not null)
            await process.ServeAsync(stream, reader, OnEvent).ConfigureAwait(false);
    }

    private RankProcess? OnReady(RankReady ready)
    {
        var slot = _slots.FirstOrDefault(s => s.Process?.Token == ready.Token);
        if (slot is null)
            return null;
        slot.IsReady = true;
        slot.Failures = 0;
        SetFault(slot, "");
        _log.RankReady(slot.Index, ready.ProcessId, ready.LoadSeconds);
        _firstAnswer.TrySetResult(ready);
        slot.Observer?.OnReady(slot.Index);
        return slot.Process;
    }

    private void OnEvent(RankProcess process, RankEvent message) => _mailbox.Post(() =>
    {
        var slot = _slots[process.Slot];
        process.UnansweredPings = 0;
        if (slot.Process == process && message.EventCase != RankEvent.EventOneofCase.Pong)
            slot.Observer?.OnEvent(slot.Index, message);
    });

    private void OnErrorLine(RankProcess process, string line) => _mailbox.Post(() =>
    {
        var slot = _slots[process.Slot];
        _log.RankError(process.Slot, line);
        if (slot.Process == process)
            slot.Observer?.OnErrorLine(slot.Index, line);
    });

    private void OnExit(Slot slot, RankProcess process, RankExit exit)
    {
        if (slot.Process != process || _stopped)
            return;
        var wasReady = slot.IsReady;
        slot.Process = null;
        slot.IsReady = false;
        _log.RankExited(slot.Index, process.ProcessId, Attempts.CrashReport.Ending(exit.ExitCode), exit.LastWords.Count > 0 ? exit.LastWords[^1] : "");
        // First the fault, so that the coordinator knows it when it hears how the attempt ended.
        if (!wasReady)
            FailedToLoad(slot, Attempts.CrashReport.WhyNotReady(exit));
        slot.Observer?.OnExit(slot.Index, exit);
        if (wasReady)
            Relaunch(slot);
    }

    // One that cannot even load would be restarted for ever: ever more slowly.
    private void FailedToLoad(Slot slot, string reason)
    {
        _firstAnswer.TrySetResult(null);
        if (++slot.Failures >= FailuresOfAFault)
            SetFault(slot, reason);
        _ = LaunchLaterAsync(slot, TimeSpan.FromSeconds(Math.Min(MaxBackoffSeconds, Math.Pow(2, slot.Failures - 1) / 4)));
    }

    private void SetFault(Slot slot, string fault)
    {
        if (slot.Fault == fault)
            return;
        slot.Fault = fault;
        FaultsChanged?.Invoke();
    }

    // A stopped process (SIGSTOP), or one that the machine starves, does not end: only its silence shows.
    private async Task PingAsync()
    {
        using var timer = new PeriodicTimer(_pingInterval, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(_ended.Token).ConfigureAwait(false))
                _mailbox.Post(PingAll);
        }
        catch (OperationCanceledException)
        {
            // The pool stops.
        }
    }

    private void PingAll()
    {
        foreach (var slot in _slots.Where(s => s.IsReady))
            if (slot.Process is not { } process)
                continue;
            else if (process.UnansweredPings++ < MaxUnansweredPings)
                process.Send(new RankCommand { Ping = new RankPing() });
            else
                process.Kill($"did not answer for {(MaxUnansweredPings * _pingInterval).TotalSeconds:0.#} s and was killed, expected an answer every {_pingInterval.TotalSeconds:0.#} s. Something stopped it (SIGSTOP, a debugger), or the machine has no memory or time left.");
    }

    private async Task LaunchLaterAsync(Slot slot, TimeSpan delay)
    {
        await Task.Delay(delay, _time).ConfigureAwait(false);
        _mailbox.Post(() =>
        {
            if (slot.Process is null)
                Relaunch(slot);
        });
    }

    private sealed class Slot(int index)
    {
        public int Index => index;

        public RankProcess? Process { get; set; }

        public IRankObserver? Observer { get; set; }

        public bool IsReady { get; set; }

        /// <summary>Loads in a row that failed.</summary>
        public int Failures { get; set; }

        public string Fault { get; set; } = "";
    }
}
