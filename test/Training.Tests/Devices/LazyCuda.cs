using MLDistributed.Training.Native.Cuda;

namespace Training.Tests.Devices;

/// <summary>
/// A stand-in of CUDA's runtime over the host's memory. Copies are made as late as the events allow, so that who relies on more
/// than these gets what was there before, or what comes next.
/// </summary>
internal sealed unsafe class LazyCuda : ICudaRuntime
{
    private readonly Lock _lock = new();
    private readonly Dictionary<nint, Stream> _streams = [];
    private readonly Dictionary<nint, (nint Stream, long Place)> _events = [];
    private readonly HashSet<nint> _locked = [];
    private nint _next = 1;

    /// <summary>Bytes that a device has.</summary>
    public nuint TotalBytes { get; init; } = 1 << 30;

    /// <summary>Calls that give error 2; -1: none.</summary>
    public Func<string, bool> Refuses { get; init; } = _ => false;

    public int Copies { get; private set; }

    /// <summary>Streams, events and page-locked buffers that were not given back.</summary>
    public int Alive => _streams.Count + _events.Count + _locked.Count;

    public int SetDevice(int index) => Result("SetDevice");

    public int GetMemory(out nuint free, out nuint total)
    {
        (free, total) = (TotalBytes, TotalBytes);
        return Result("GetMemory");
    }

    public int HostRegister(nint memory, nuint bytes, uint flags) => Do("HostRegister", () => Assert.IsTrue(_locked.Add(memory)));

    public int HostUnregister(nint memory) => Do("HostUnregister", () => Assert.IsTrue(_locked.Remove(memory)));

    public int CreateStream(out nint stream)
    {
        var made = stream = _next++;
        return Do("CreateStream", () => _streams[made] = new Stream());
    }

    public int DestroyStream(nint stream) => Do("DestroyStream", () => Assert.IsTrue(_streams.Remove(stream)));

    public int CreateEvent(out nint place)
    {
        var made = place = _next++;
        return Do("CreateEvent", () => _events[made] = default);
    }

    public int DestroyEvent(nint place) => Do("DestroyEvent", () => Assert.IsTrue(_events.Remove(place)));

    // What libtorch computes, on stream 0, is done when it returns on a CPU.
    public int RecordEvent(nint place, nint stream) => Do("RecordEvent", () => _events[place] = stream == 0 ? default : (stream, _streams[stream].Queued));

    public int WaitForEvent(nint stream, nint place) => Do("WaitForEvent", () =>
    {
        if (stream == 0)
            Finish(place);
        else
            Assert.AreEqual(0, _events[place].Stream, "Copies wait for what is computed.");
    });

    public int QueryEvent(nint place) => Refuses("QueryEvent") ? 2 : _events[place] is var (stream, until) && (stream == 0 || _streams[stream].Done >= until) ? 0 : CudaRuntime.NotReady;

    public int SynchronizeEvent(nint place) => Do("SynchronizeEvent", () => Finish(place));

    public int CopyToDevice(nint to, nint from, nuint bytes, nint stream) => Do("CopyToDevice", () =>
    {
        Copies++;
        _streams[stream].Queue(() => Buffer.MemoryCopy((void*)from, (void*)to, bytes, bytes));
    });

    public int GetLastError() => 0;

    public string GetErrorString(int error) => $"error of {error}";

    private void Finish(nint place)
    {
        var (stream, until) = _events[place];
        if (stream != 0)
            _streams[stream].Finish(until);
    }

    private int Result(string call) => Refuses(call) ? 2 : 0;

    // The feed's thread calls too.
    private int Do(string call, Action action)
    {
        if (Refuses(call))
            return 2;
        lock (_lock)
            action();
        return 0;
    }

    private sealed class Stream
    {
        private readonly Queue<Action> _waiting = new();

        public long Queued { get; private set; }

        public long Done => Queued - _waiting.Count;

        public void Queue(Action work)
        {
            _waiting.Enqueue(work);
            Queued++;
        }

        public void Finish(long until)
        {
            while (Done < until)
                _waiting.Dequeue()();
        }
    }
}
