using System.Globalization;
using System.Runtime.InteropServices;

namespace MLDistributed.Collectives.Nccl;

/// <summary>NCCL's C interface, as far as it is used: that of 2.18 and later.</summary>
/// <remarks>https://docs.nvidia.com/deeplearning/nccl/user-guide/docs/api.html. Results are numbers: 0 success, 7 in progress.</remarks>
public sealed unsafe class NcclLibrary
{
    /// <summary>Names the library's file, where it is none of those that are searched; "none" has it not used.</summary>
    public const string Variable = "MLDIST_NCCL";

    /// <summary>Bytes of what the first rank makes and all others need to meet it.</summary>
    public const int IdBytes = 128;

    internal const int Success = 0;
    internal const int InProgress = 7;

    /// <summary>What to do where it does not start.</summary>
    internal const string WithoutIt = $"Set {Variable}=none on the worker to sum in the host's memory.";

    private const string FileName = "libnccl.so.2";
    private const int LeastVersion = 21800;
    private const int Float32 = 7;
    private const int Sum = 0;

    private readonly delegate* unmanaged<UniqueId*, int> _getUniqueId;
    private readonly delegate* unmanaged<nint*, int, UniqueId, int, Config*, int> _initRank;
    private readonly delegate* unmanaged<nint, int*, int> _getAsyncError;
    private readonly delegate* unmanaged<void*, void*, nuint, int, int, nint, nint, int> _allReduce;
    private readonly delegate* unmanaged<void*, void*, nuint, int, int, nint, nint, int> _reduceScatter;
    private readonly delegate* unmanaged<void*, void*, nuint, int, nint, nint, int> _allGather;
    private readonly delegate* unmanaged<nint, int> _finalize;
    private readonly delegate* unmanaged<nint, int> _destroy;
    private readonly delegate* unmanaged<nint, int> _abort;
    private readonly delegate* unmanaged<int, byte*> _getErrorString;
    private readonly delegate* unmanaged<nint, byte*> _getLastError;

    private NcclLibrary(nint library, string path)
    {
        int version;
        var result = ((delegate* unmanaged<int*, int>)Function("ncclGetVersion"))(&version);
        if (result != Success || version < LeastVersion)
            throw new DllNotFoundException($"NCCL \"{path}\" is of version {Text(version)}, expected {Text(LeastVersion)} or later");
        Version = Text(version);
        _getUniqueId = (delegate* unmanaged<UniqueId*, int>)Function("ncclGetUniqueId");
        _initRank = (delegate* unmanaged<nint*, int, UniqueId, int, Config*, int>)Function("ncclCommInitRankConfig");
        _getAsyncError = (delegate* unmanaged<nint, int*, int>)Function("ncclCommGetAsyncError");
        _allReduce = (delegate* unmanaged<void*, void*, nuint, int, int, nint, nint, int>)Function("ncclAllReduce");
        _reduceScatter = (delegate* unmanaged<void*, void*, nuint, int, int, nint, nint, int>)Function("ncclReduceScatter");
        _allGather = (delegate* unmanaged<void*, void*, nuint, int, nint, nint, int>)Function("ncclAllGather");
        _finalize = (delegate* unmanaged<nint, int>)Function("ncclCommFinalize");
        _destroy = (delegate* unmanaged<nint, int>)Function("ncclCommDestroy");
        _abort = (delegate* unmanaged<nint, int>)Function("ncclCommAbort");
        _getErrorString = (delegate* unmanaged<int, byte*>)Function("ncclGetErrorString");
        _getLastError = (delegate* unmanaged<nint, byte*>)Function("ncclGetLastError");

        nint Function(string name) => NativeLibrary.GetExport(library, name);

        // Since 2.9: two digits each.
        static string Text(int version) => string.Create(CultureInfo.InvariantCulture, $"{version / 10000}.{version / 100 % 100}.{version % 100}");
    }

    /// <summary>Such as "2.27.5".</summary>
    public string Version { get; }

    /// <summary>The one that <see cref="Variable"/> names; else one that the process has, as of a PyTorch; else the system's, and one of some folders.</summary>
    /// <exception cref="DllNotFoundException">There is none, or one that is too old; the message, without its full stop, says so.</exception>
    /// <exception cref="EntryPointNotFoundException">It is another library.</exception>
    public static NcclLibrary Load(params IEnumerable<string> folders)
    {
        if (Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } named)
            return named != "none" ? Open(named) : throw new DllNotFoundException($"{Variable} is \"none\"");

        DllNotFoundException? tooOld = null;
        foreach (var path in folders.Select(f => Path.Combine(f, FileName)).Where(File.Exists).Prepend(FileName))
        {
            try
            {
                if (NativeLibrary.TryLoad(path, out var library))
                    return new NcclLibrary(library, path);
            }
            catch (DllNotFoundException e)
            {
                tooOld ??= e; // another may be newer
            }
        }

        throw tooOld ?? new DllNotFoundException($"{FileName} was not found, expected it where the system looks for libraries, or {Variable} to name it");
    }

    /// <summary>The one in a file.</summary>
    /// <exception cref="DllNotFoundException">As <see cref="Load"/>.</exception>
    public static NcclLibrary Open(string path) => NativeLibrary.TryLoad(path, out var library) ? new NcclLibrary(library, path)
        : throw new DllNotFoundException($"NCCL \"{path}\" cannot be loaded, expected the path of {FileName}");

    /// <summary>What the ranks of one communicator meet by; rank 0 makes it, anew for each.</summary>
    /// <exception cref="CollectiveNetworkException">NCCL refuses.</exception>
    public byte[] NewId()
    {
        UniqueId id;
        Check(_getUniqueId(&id), "ncclGetUniqueId");
        return new ReadOnlySpan<byte>(&id, IdBytes).ToArray();
    }

    internal int InitRank(out nint communicator, int worldSize, ReadOnlySpan<byte> id, int rank)
    {
        var config = Config.NonBlocking();
        UniqueId all;
        id[..IdBytes].CopyTo(new Span<byte>(&all, IdBytes));
        fixed (nint* at = &communicator)
            return _initRank(at, worldSize, all, rank, &config);
    }

    internal int GetAsyncError(nint communicator, out int state)
    {
        fixed (int* at = &state)
            return _getAsyncError(communicator, at);
    }

    internal int AllReduce(nint values, long count, nint communicator, nint stream) =>
        _allReduce((void*)values, (void*)values, (nuint)count, Float32, Sum, communicator, stream);

    internal int ReduceScatter(nint values, nint shard, long count, nint communicator, nint stream) =>
        _reduceScatter((void*)values, (void*)shard, (nuint)count, Float32, Sum, communicator, stream);

    internal int AllGather(nint shard, nint values, long count, nint communicator, nint stream) =>
        _allGather((void*)shard, (void*)values, (nuint)count, Float32, communicator, stream);

    internal int Finalize(nint communicator) => _finalize(communicator);

    internal int Destroy(nint communicator) => _destroy(communicator);

    internal int Abort(nint communicator) => _abort(communicator);

    internal string Describe(int result, nint communicator = 0)
    {
        var last = Marshal.PtrToStringUTF8((nint)_getLastError(communicator)) ?? "";
        return $"error {result}, \"{Marshal.PtrToStringUTF8((nint)_getErrorString(result))}\"{(last.Length == 0 ? "" : $" ({last.ReplaceLineEndings(" ").Trim()})")}";
    }

    private void Check(int result, string call)
    {
        if (result != Success)
            throw new CollectiveNetworkException($"{call} gave {Describe(result)}. {WithoutIt}");
    }

    [StructLayout(LayoutKind.Sequential, Size = IdBytes)]
    private struct UniqueId
    {
        private fixed byte _bytes[IdBytes];
    }

    // As 2.18 has it; later versions take as much of it as its size says.
    [StructLayout(LayoutKind.Sequential)]
    private struct Config
    {
        private nuint _size;
        private uint _magic;
        private uint _version;
        private int _blocking;
        private int _cgaClusterSize;
        private int _minCtas;
        private int _maxCtas;
        private nint _netName;
        private int _splitShare;

        public static Config NonBlocking() => new()
        {
            _size = (nuint)sizeof(Config),
            _magic = 0xcafebeef,
            _version = 21805,
            _blocking = 0,
            _cgaClusterSize = int.MinValue,
            _minCtas = int.MinValue,
            _maxCtas = int.MinValue,
            _splitShare = int.MinValue,
        };
    }
}
