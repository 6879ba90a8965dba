using System.Runtime.InteropServices;
using System.Text;

namespace MLDistributed.Collectives.Mpi;

/// <summary>
/// MPICH's binary interface, which Intel MPI, MVAPICH and Cray MPI keep to: handles are 32-bit numbers with fixed values.
/// Only what does not block, and what starts it.
/// </summary>
internal static unsafe partial class NativeMpi
{
    public const int CommWorld = 0x44000000;
    public const int Byte = 0x4c00010d;
    public const int RequestNull = 0x2c000000;

    private const string Library = "mpich-abi";
    private const int ErrorsReturn = 0x54000001;
    private const int Serialized = 2;
    private const int LongestText = 8192;

    private static readonly string[] s_names = ["libmpi.so.12", "libmpich.so.12"];
    private static readonly void* s_ignoreStatuses = (void*)1;

    static NativeMpi() => NativeLibrary.SetDllImportResolver(typeof(NativeMpi).Assembly, (name, _, _) =>
        name == Library && TryLoad(out var handle) ? handle : 0);

    /// <summary>Loads the library. UCX, below it, reads its environment then: <see cref="MpiEnvironment"/> comes before.</summary>
    public static bool TryLoad(out nint handle)
    {
        foreach (var name in s_names)
        {
            if (NativeLibrary.TryLoad(name, out handle))
                return true;
        }

        handle = 0;
        return false;
    }

    /// <summary>Its name and version, without starting it.</summary>
    public static string LibraryVersion()
    {
        var text = stackalloc byte[LongestText];
        Check(GetLibraryVersion(text, out var length), "MPI_Get_library_version");
        // MPICH's first line is "MPICH Version:\t4.0.2", others' name themselves in theirs.
        return string.Join(' ', Encoding.UTF8.GetString(text, Math.Min(length, LongestText)).Split('\n')[0].Replace("Version:", "", StringComparison.Ordinal).Split((char[])[' ', '\t', '\r', '\0'], StringSplitOptions.RemoveEmptyEntries));
    }

    /// <summary>Joins the world that the environment tells of. Once a process; blocks until all have come.</summary>
    public static void Start()
    {
        Check(InitThread(null, null, Serialized, out var provided), "MPI_Init_thread");
        if (provided < Serialized)
            throw new CollectiveException($"MPI has thread level {provided}, expected at least {Serialized} (MPI_THREAD_SERIALIZED). Use a build with threads.");
        Check(SetErrorHandler(CommWorld, ErrorsReturn), "MPI_Comm_set_errhandler");
    }

    public static int Send(void* from, int bytes, int rank, int tag)
    {
        Check(ISend(from, bytes, Byte, rank, tag, CommWorld, out var request), "MPI_Isend");
        return request;
    }

    public static int Receive(void* to, int bytes, int rank, int tag)
    {
        Check(IReceive(to, bytes, Byte, rank, tag, CommWorld, out var request), "MPI_Irecv");
        return request;
    }

    /// <summary>Lets MPI go on, and says which requests are done: their places, in no order. Never waits.</summary>
    public static int Test(int* requests, int count, int* done)
    {
        Check(TestSome(count, requests, out var doneCount, done, s_ignoreStatuses), "MPI_Testsome");
        return Math.Max(0, doneCount);
    }

    private static void Check(int code, string function)
    {
        if (code == 0)
            return;
        var text = stackalloc byte[LongestText];
        ErrorString(code, text, out var length);
        throw new CollectiveNetworkException($"{function} failed: {Encoding.UTF8.GetString(text, length).Trim().ReplaceLineEndings("; ")}.");
    }

    [LibraryImport(Library, EntryPoint = "MPI_Init_thread")]
    private static partial int InitThread(int* argumentCount, byte*** arguments, int required, out int provided);

    [LibraryImport(Library, EntryPoint = "MPI_Comm_set_errhandler")]
    private static partial int SetErrorHandler(int communicator, int handler);

    [LibraryImport(Library, EntryPoint = "MPI_Isend")]
    private static partial int ISend(void* from, int count, int type, int to, int tag, int communicator, out int request);

    [LibraryImport(Library, EntryPoint = "MPI_Irecv")]
    private static partial int IReceive(void* to, int count, int type, int from, int tag, int communicator, out int request);

    [LibraryImport(Library, EntryPoint = "MPI_Testsome")]
    private static partial int TestSome(int count, int* requests, out int doneCount, int* done, void* statuses);

    [LibraryImport(Library, EntryPoint = "MPI_Get_library_version")]
    private static partial int GetLibraryVersion(byte* text, out int length);

    [LibraryImport(Library, EntryPoint = "MPI_Error_string")]
    private static partial int ErrorString(int code, byte* text, out int length);
}
