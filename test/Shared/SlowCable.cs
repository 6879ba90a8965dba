using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace MLDistributed.Tests.Shared;

/// <summary>
/// A cable that holds what goes one way for a while, for kernels whose tc cannot: two TAP devices, and a thread of this process that
/// carries frames from each to the other. All of it is gone with this process.
/// </summary>
internal sealed class SlowCable : IDisposable
{
    private const int MostHeld = 1000; // frames, as netem's own limit: what comes then is lost
    private const int FrameBytes = 10 + (64 << 10) + 64; // the kernel's words on the frame, what it cuts to packets later, and headers
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(100);

    /// <summary>How its devices' names begin: those of other processes' cables begin otherwise.</summary>
    public static readonly string DevicePrefix = string.Create(CultureInfo.InvariantCulture, $"mld{Environment.ProcessId}t");

    private readonly Tap _near = Tap.Create();
    private readonly Tap _far = Tap.Create();
    private readonly TimeSpan _delay;
    private readonly Queue<(byte[] Frame, long Due)> _held = [];
    private readonly byte[] _buffer = new byte[FrameBytes];
    private readonly Thread _thread;
    private volatile bool _isCut;

    /// <summary>Lays it between two devices of this network namespace, from where they can be moved.</summary>
    /// <param name="delay">How long it holds what comes to <see cref="Near"/>.</param>
    /// <exception cref="IOException">This machine has no TAP devices; the message says why.</exception>
    public SlowCable(TimeSpan delay)
    {
        _delay = delay;
        _thread = new Thread(Carry) { IsBackground = true, Name = "slow cable" };
        _thread.Start();
    }

    /// <summary>The device whose frames are held.</summary>
    public string Near => _near.Name;

    /// <summary>The device from which they come out, and whose own are not held.</summary>
    public string Far => _far.Name;

    public void Dispose()
    {
        _isCut = true;
        _thread.Join();
        _near.Dispose();
        _far.Dispose();
    }

    private void Carry()
    {
        while (!_isCut)
        {
            var (fromNear, fromFar) = Tap.Wait(_near, _far, _held.TryPeek(out var first) ? Left(first.Due) : s_look);
            if (fromNear && _near.Read(_buffer) is var length && length > 0 && _held.Count < MostHeld)
                _held.Enqueue((_buffer[..length], Stopwatch.GetTimestamp() + (long)(_delay.TotalSeconds * Stopwatch.Frequency)));
            if (fromFar && _far.Read(_buffer) is var back && back > 0)
                _near.Write(_buffer.AsSpan(0, back));
            while (_held.TryPeek(out var next) && Left(next.Due) == TimeSpan.Zero)
                _far.Write(_held.Dequeue().Frame);
        }
    }

    private static TimeSpan Left(long due) => Stopwatch.GetTimestamp() is var now && now < due ? Stopwatch.GetElapsedTime(now, due) : TimeSpan.Zero;

    /// <summary>A network device whose frames a process reads and writes.</summary>
    private sealed class Tap(SafeFileHandle handle, string name) : IDisposable
    {
        private const int NameBytes = 16;
        private const short FramesWithHeader = 0x0002 | 0x1000 | 0x4000; // IFF_TAP, IFF_NO_PI, IFF_VNET_HDR
        private const nuint SetDevice = 0x400454ca;
        private const nuint SetOffload = 0x400454d0;
        private const nuint Segments = 1 | 2 | 4; // checksums and TCP of both kinds stay undone, as between veths
        private const short PollIn = 1;

        public string Name => name;

        public static Tap Create()
        {
            var handle = new SafeFileHandle(Open("/dev/net/tun", flags: 0x80802), ownsHandle: true); // O_RDWR, O_NONBLOCK, O_CLOEXEC
            try
            {
                Span<byte> request = stackalloc byte[40];
                request.Clear();
                Encoding.ASCII.GetBytes(DevicePrefix + "%d", request); // the kernel puts the number
                MemoryMarshal.Write(request[NameBytes..], FramesWithHeader);
                if (handle.IsInvalid || Control(handle, SetDevice, ref request[0]) < 0 || Control(handle, SetOffload, Segments) < 0)
                    throw new IOException($"/dev/net/tun gives no TAP device: {new Win32Exception().Message}.");
                return new Tap(handle, Encoding.ASCII.GetString(request[..request.IndexOf((byte)0)]));
            }
            catch
            {
                handle.Dispose();
                throw;
            }
        }

        /// <summary>Until one has a frame, or for a time.</summary>
        public static (bool First, bool Second) Wait(Tap first, Tap second, TimeSpan time)
        {
            Span<PollEntry> entries = [new(first), new(second)];
            var limit = new TimeLimit(0, (nint)(time.Ticks * TimeSpan.NanosecondsPerTick));
            return Poll(ref entries[0], 2, limit, 0) > 0 ? (entries[0].Returned != 0, entries[1].Returned != 0) : (false, false);
        }

        /// <returns>Its bytes; below 1: there is none.</returns>
        public int Read(byte[] frame) => (int)Read(handle, ref frame[0], (nuint)frame.Length);

        /// <summary>Of a device that is down, or gone with its namespace, it is lost.</summary>
        public void Write(ReadOnlySpan<byte> frame) => Write(handle, in frame[0], (nuint)frame.Length);

        public void Dispose() => handle.Dispose();

        [DllImport("libc", EntryPoint = "open", SetLastError = true)]
        private static extern nint Open([MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags);

        [DllImport("libc", EntryPoint = "ioctl", SetLastError = true)]
        private static extern int Control(SafeFileHandle file, nuint request, ref byte argument);

        [DllImport("libc", EntryPoint = "ioctl", SetLastError = true)]
        private static extern int Control(SafeFileHandle file, nuint request, nuint argument);

        [DllImport("libc", EntryPoint = "ppoll")]
        private static extern int Poll(ref PollEntry entries, nuint count, in TimeLimit limit, nint signals);

        [DllImport("libc", EntryPoint = "read")]
        private static extern nint Read(SafeFileHandle file, ref byte bytes, nuint count);

        [DllImport("libc", EntryPoint = "write")]
        private static extern nint Write(SafeFileHandle file, in byte bytes, nuint count);

        [StructLayout(LayoutKind.Sequential)]
        private struct PollEntry(Tap tap)
        {
            public int File = (int)tap.Handle.DangerousGetHandle();
            public short Wanted = PollIn;
            public short Returned;
        }

        private readonly record struct TimeLimit(nint Seconds, nint Nanoseconds);

        private SafeFileHandle Handle => handle;
    }
}
