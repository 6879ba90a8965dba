using System.Collections.Concurrent;
using Grpc.Core;
using MLDistributed.Protocol;

namespace MLDistributed.Bench.Load;

/// <summary>Agents of one slot each that speak the real protocol, and hold what they are given until they are told to end it.</summary>
internal sealed class AgentCrowd : IDisposable
{
    private readonly List<Agent> _agents = [];
    private readonly ConcurrentQueue<Agent> _holding = [];
    private readonly SemaphoreSlim _started = new(0);
    private readonly CancellationTokenSource _stop = new();

    public static async Task<AgentCrowd> ConnectAsync(CoordinatorProcess coordinator, int count)
    {
        var crowd = new AgentCrowd();
        for (var i = 0; i < count; i++)
        {
            var agent = new Agent($"agent{i}", coordinator.ConnectLocally().Invoker);
            crowd._agents.Add(agent);
            await agent.ConnectAsync().ConfigureAwait(false);
            _ = crowd.HearAsync(agent);
            _ = crowd.BeatAsync(agent);
        }

        return crowd;
    }

    /// <summary>Every agent has a job.</summary>
    public async Task AllHoldAsync()
    {
        for (var i = 0; i < _agents.Count; i++)
            await _started.WaitAsync().ConfigureAwait(false);
    }

    /// <summary>Ends one agent's job, and returns when the next one was started.</summary>
    public async Task EndOneAsync()
    {
        _holding.TryDequeue(out var agent);
        await agent!.EndAsync().ConfigureAwait(false);
        await _started.WaitAsync().ConfigureAwait(false);
    }

    public void Dispose()
    {
        _stop.Cancel();
        foreach (var agent in _agents)
            agent.Dispose();
        _started.Dispose();
        _stop.Dispose();
    }

    private async Task HearAsync(Agent agent)
    {
        while (await agent.NextStartAsync().ConfigureAwait(false))
        {
            _holding.Enqueue(agent);
            _started.Release();
        }
    }

    private async Task BeatAsync(Agent agent)
    {
        using var timer = new PeriodicTimer(agent.Heartbeat);
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token).ConfigureAwait(false))
                await agent.BeatAsync().ConfigureAwait(false);
        }
        catch (Exception e) when (e is OperationCanceledException or RpcException or InvalidOperationException)
        {
            // The coordinator is gone, or all is over.
        }
    }

    private sealed class Agent(string id, CallInvoker invoker) : IDisposable
    {
        private readonly Device _device = new() { Kind = DeviceKind.Cpu, Name = "core" };
        private readonly AsyncDuplexStreamingCall<WorkerMessage, WorkerCommand> _call = new Workers.WorkersClient(invoker).Connect();
        private readonly SemaphoreSlim _writing = new(1);
        private Welcome _welcome = new();
        private string _attempt = "";

        public TimeSpan Heartbeat => TimeSpan.FromSeconds(_welcome.HeartbeatSeconds);

        public async Task ConnectAsync()
        {
            await SendAsync(new WorkerMessage { Hello = new Hello { WorkerId = id, Host = id, ProtocolVersion = ProtocolVersion.Current, Devices = { _device } } }).ConfigureAwait(false);
            await _call.ResponseStream.MoveNext(CancellationToken.None).ConfigureAwait(false);
            _welcome = _call.ResponseStream.Current.Welcome;
        }

        public async Task<bool> NextStartAsync()
        {
            try
            {
                while (await _call.ResponseStream.MoveNext(CancellationToken.None).ConfigureAwait(false))
                {
                    if (_call.ResponseStream.Current.StartAttempt is not { } start)
                        continue;
                    _attempt = start.AttemptId;
                    await SendAsync(new WorkerMessage { AttemptStarted = new AttemptStarted { AttemptId = _attempt } }).ConfigureAwait(false);
                    return true;
                }
            }
            catch (Exception e) when (e is RpcException or InvalidOperationException)
            {
                // The coordinator is gone.
            }

            return false;
        }

        public Task BeatAsync() => SendAsync(new WorkerMessage { Heartbeat = new Heartbeat { Devices = { _device } } });

        public Task EndAsync() => SendAsync(new WorkerMessage { AttemptEnded = new AttemptEnded { AttemptId = _attempt, Result = new JobResult { WorldSize = 1, Epochs = 1 } } });

        public void Dispose()
        {
            _call.Dispose();
            _writing.Dispose();
        }

        private async Task SendAsync(WorkerMessage message)
        {
            message.SessionEpoch = _welcome.SessionEpoch;
            await _writing.WaitAsync().ConfigureAwait(false);
            try
            {
                await _call.RequestStream.WriteAsync(message).ConfigureAwait(false);
            }
            finally
            {
                _writing.Release();
            }
        }
    }
}
